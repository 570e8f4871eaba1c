"""Solvers of the flow from noise to a clean latent, one file each; `SOLVERS` is the table a user chooses from."""

from .dpmpp_2m import DPMSolverMultistep
from .dpmpp_2m_native import NativeDPMSolverMultistep
from .dpmpp_sde import DPMSolverStochastic
from .euler import Euler
from .heun import Heun
from .lcm import LatentConsistency
from .native import (
    AncestralEuler,
    AncestralTwoStage,
    ExponentialMultistep,
    ExtendedReverseTime,
    GradientEstimation,
)
from .solver import Guess, Solver, SolverRecord, StepResult
from .unipc import UniPC
from .unipc_native import UNI_PC_BH1, UNI_PC_BH2

_STOCHASTIC = DPMSolverStochastic()

SOLVERS: dict[str, Solver] = {
    "unipc": UniPC(),
    "euler": Euler(),
    "heun": Heun(),
    "dpmpp_2m": DPMSolverMultistep(),
    "dpmpp_sde": _STOCHASTIC,  # the older name of the next but one; native's dpmpp_sde is another solver
    "lcm": LatentConsistency(),
    "dpmpp_2m_sde": _STOCHASTIC,
    "dpmpp_2m_native": NativeDPMSolverMultistep(),
    "uni_pc": UNI_PC_BH1,
    "uni_pc_bh2": UNI_PC_BH2,
    "euler_ancestral": AncestralEuler(),
    "dpmpp_2s_ancestral": AncestralTwoStage(),
    "res_multistep": ExponentialMultistep(),
    "res_multistep_ancestral": ExponentialMultistep(ancestral=True),
    "gradient_estimation": GradientEstimation(),
    "er_sde": ExtendedReverseTime(),
}

WITHOUT_PENULTIMATE = frozenset({"uni_pc", "uni_pc_bh2"})
"""Solvers whose schedule leaves out its last sigma above 0, see `schedule.make_schedule`.

Source: comfyanonymous/ComfyUI comfy/samplers.py, DISCARD_PENULTIMATE_SIGMA_SAMPLERS.
"""

FROM_BELOW_ONE = frozenset({"er_sde"})
"""Solvers that cannot step from sigma 1, see `NoiseSchedule.from_below_one`.

Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, offset_first_sigma_for_snr.
"""

__all__ = ["FROM_BELOW_ONE", "SOLVERS", "WITHOUT_PENULTIMATE", "Guess", "Solver", "SolverRecord", "StepResult"]
