"""ComfyUI's samplers, and the nodes that say what a run of them is made of."""

from .custom import SamplerCustom, SamplerCustomAdvanced
from .guiders import BasicGuider, CFGGuider, DualCFGGuider
from .ksampler import KSampler, KSamplerAdvanced
from .model_sampling import ModelSamplingSD3
from .names import LEFT_OUT, SCHEDULE_OF, SCHEDULERS, SOLVER_OF
from .noise import AddNoise, DisableNoise, RandomNoise
from .samplers import (
    KSamplerSelect,
    SamplerARVideo,
    SamplerDPMPP_2S_Ancestral,
    SamplerER_SDE,
    SamplerEulerAncestral,
)
from .schedulers import (
    BasicScheduler,
    ExponentialScheduler,
    KarrasScheduler,
    PolyexponentialScheduler,
    SamplingPercentToSigma,
)
from .sigmas import (
    ExtendIntermediateSigmas,
    FlipSigmas,
    ManualSigmas,
    SetFirstSigma,
    SplitSigmas,
    SplitSigmasDenoise,
)

RUNNING = (
    KSampler, KSamplerAdvanced, SamplerCustom, SamplerCustomAdvanced, CFGGuider, DualCFGGuider, BasicGuider,
    ModelSamplingSD3, BasicScheduler, SamplingPercentToSigma, AddNoise,
)  # fmt: skip
"""Those that take a model."""
DESCRIBING = (
    RandomNoise, DisableNoise, KSamplerSelect, SamplerEulerAncestral, SamplerDPMPP_2S_Ancestral, SamplerER_SDE,
    SamplerARVideo, KarrasScheduler, ExponentialScheduler, PolyexponentialScheduler,
    SplitSigmas, SplitSigmasDenoise, FlipSigmas, SetFirstSigma, ExtendIntermediateSigmas, ManualSigmas,
)  # fmt: skip
"""Those that take none."""

__all__ = [
    "DESCRIBING",
    "LEFT_OUT",
    "RUNNING",
    "SCHEDULERS",
    "SCHEDULE_OF",
    "SOLVER_OF",
    "KSampler",
    "ModelSamplingSD3",
]
