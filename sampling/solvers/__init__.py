"""Solvers of the flow from noise to a clean latent, one file each; `SOLVERS` is the table a user chooses from."""

from .dpmpp_2m import DPMSolverMultistep
from .dpmpp_2m_native import NativeDPMSolverMultistep
from .dpmpp_sde import DPMSolverStochastic
from .euler import Euler
from .heun import Heun
from .lcm import LatentConsistency
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
}

WITHOUT_PENULTIMATE = frozenset({"uni_pc", "uni_pc_bh2"})
"""Solvers whose schedule leaves out its last sigma above 0, see `schedule.make_schedule`.

Source: comfyanonymous/ComfyUI comfy/samplers.py, DISCARD_PENULTIMATE_SIGMA_SAMPLERS.
"""

__all__ = ["SOLVERS", "WITHOUT_PENULTIMATE", "Guess", "Solver", "SolverRecord", "StepResult"]
