"""The node that makes the video's latent."""

from __future__ import annotations

from typing import Any

from ..common.checking import instance_of, tensor_of
from ..engine.memory import AUTOMATIC, MemorySettings
from ..engine.sampling.settings import SamplerSettings
from ..sampling.schedule import SCHEDULES
from ..sampling.solvers import SOLVERS
from ..sampling.validation import MAX_CFG, MAX_SEED, MAX_SHIFT, MAX_STEPS
from .api import ADVANCED, io, one_sentence
from .loaders import WanModelType
from .options.memory import memory_input
from .sockets.sampling import sampled


def seed_input(tooltip: str) -> Any:
    """The widget seed."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def steps_input(tooltip: str, *, default: int = 30) -> Any:
    """The widget steps."""
    return io.Int.Input("steps", default=default, min=1, max=MAX_STEPS, tooltip=tooltip)


def cfg_input(tooltip: str, *, name: str = "cfg", default: float = 5.0) -> Any:
    """The widget of a guidance scale."""
    return io.Float.Input(name, default=default, min=0.0, max=MAX_CFG, step=0.1, round=0.01, tooltip=tooltip)


def shift_input(tooltip: str) -> Any:
    """The widget shift."""
    return io.Float.Input("shift", default=5.0, min=0.01, max=MAX_SHIFT, step=0.1, round=0.01, tooltip=tooltip)


def solver_input(tooltip: str, *, default: str = "unipc") -> Any:
    """The widget solver."""
    return io.Combo.Input("solver", options=list(SOLVERS), default=default, tooltip=tooltip)


def schedule_input(tooltip: str) -> Any:
    """The widget schedule."""
    return io.Combo.Input("schedule", options=list(SCHEDULES), default="simple", tooltip=tooltip)


def step_inputs() -> list[Any]:
    """How many steps, and how each is guided."""
    return [
        seed_input("The noise to start from; the same seed and settings give the same video."),
        steps_input("How often the model is asked; 20 to 50. More is slower and finer."),
        cfg_input(
            "How strongly the prompt counts: 3 to 6. At 1 the negative prompt is off and a step takes half the time."
        ),
        shift_input("How much time is spent at high noise, where motion and layout arise: 3 to 16."),
    ]


def solver_inputs() -> list[Any]:
    """How the steps are computed, and where they lie."""
    return [
        solver_input(
            "How a step is computed. unipc is the official one; euler is the simplest; lcm is for "
            "distilled models. unipc and dpmpp_2m follow the official code and give another video than KSampler's "
            "solvers of those names, which are uni_pc, uni_pc_bh2 and dpmpp_2m_native here. dpmpp_2m_sde, by its older "
            "name dpmpp_sde, is that of diffusers. Those behind dpmpp_2m_sde give KSampler's results; its dpmpp_sde "
            "and dpmpp_2m_sde are dpmpp_sde_native and dpmpp_2m_sde_native here.",
        ),
        schedule_input(
            "Where the steps lie between noise and video. official repeats the official code's table "
            "for unipc, official_dpm the one for dpmpp_2m. simple, normal, beta and those behind karras_ratio are "
            "KSampler's; its karras is karras_native here: karras, also called karras_ratio, is that of diffusers."
        ),
    ]


class WanDirectorSampler(io.ComfyNode):
    """Removes the noise step by step."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorSampler",
            display_name="Wan Sampler",
            category="Wan Director/sampling",
            description="Makes the video: starts from noise of the seed and removes it step by step, guided by the "
            "prompts. Official settings: steps 50 (I2V 40), cfg 5, shift 5 (I2V at 480p: 3; first+last: 16).",
            search_aliases=["ksampler", "SamplerCustomAdvanced", "sample", "denoise", "wanvideo sampler"],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model."),
                io.Conditioning.Input("positive", tooltip="What the video should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show; not used at cfg 1."),
                io.Latent.Input(
                    "latent",
                    tooltip="Size and length of the video, or a video to change (denoise below 1, or a noise mask).",
                ),
                *step_inputs(),
                *solver_inputs(),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="1 makes a new video; below 1 the given latent is changed only that much.",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels of your own, from 1 to 0. Steps, schedule and denoise then have no effect, "
                    "and shift only on timestep ranges.",
                ),
                memory_input("How much of the GPU to use, and how many blocks to swap."),
                io.Boolean.Input(
                    "add_noise",
                    default=True,
                    optional=True,
                    tooltip="Whether the latent is noised before the first step. Off to go on from a latent with "
                    "noise left in it, of SplitSigmas' first part or of KSampler (Advanced); connect the sigmas of the "
                    "steps that are left.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The finished video as a latent, for Wan Decode Video.")
            ],
        )

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: Any,
        positive: list,
        negative: list,
        latent: dict,
        seed: int,
        steps: int,
        cfg: float,
        shift: float,
        solver: str,
        schedule: str,
        denoise: float,
        sigmas: Any = None,
        memory: MemorySettings | None = None,
        add_noise: bool = True,
    ) -> Any:
        if sigmas is not None:
            advice = "Connect BasicScheduler or another node that makes SIGMAS."
            tensor_of(sigmas, "sigmas", "a list of noise levels", advice)
        memory = AUTOMATIC if memory is None else memory
        instance_of(memory, MemorySettings, "memory", "the settings of Wan Memory")
        settings = SamplerSettings(seed, steps, cfg, shift, solver, schedule, denoise, sigmas)
        made, _ = sampled(model, (positive, negative), latent, settings, memory, adds_noise=add_noise)
        return io.NodeOutput(made)
