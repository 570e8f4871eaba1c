"""Solvers of the flow from noise to a clean latent, one file each; `SOLVERS` is the table a user chooses from."""

from .dpmpp_2m import DPMSolverMultistep
from .dpmpp_2m_native import NativeDPMSolverMultistep
from .dpmpp_sde import DPMSolverStochastic
from .euler import Euler
from .heun import Heun
from .lcm import LatentConsistency
from .native import NATIVE_SOLVERS
from .solver import Guess, Solver, SolverRecord, StepResult
from .unipc import UniPC
from .unipc_native import UNI_PC_BH1, UNI_PC_BH2

_EULER, _STOCHASTIC = Euler(), DPMSolverStochastic()

SOLVERS: dict[str, Solver] = {
    "unipc": UniPC(),
    "euler": _EULER,
    "heun": Heun(),
    "dpmpp_2m": DPMSolverMultistep(),
    "dpmpp_sde": _STOCHASTIC,  # the older name of the next but one; native's dpmpp_sde is another solver
    "lcm": LatentConsistency(),
    "dpmpp_2m_sde": _STOCHASTIC,
    "dpmpp_2m_native": NativeDPMSolverMultistep(),
    "uni_pc": UNI_PC_BH1,
    "uni_pc_bh2": UNI_PC_BH2,
    **NATIVE_SOLVERS,
    "ddim": _EULER,  # differs in the noise of a masked video, see `MASKS_WITH_STEP_NOISE`
}

WITHOUT_PENULTIMATE = frozenset({"uni_pc", "uni_pc_bh2", "dpm_2", "dpm_2_ancestral"})
"""Solvers whose schedule leaves out its last sigma above 0, see `schedule.make_schedule`.

Source: comfyanonymous/ComfyUI comfy/samplers.py, DISCARD_PENULTIMATE_SIGMA_SAMPLERS.
"""

FROM_BELOW_ONE = frozenset({
    "er_sde", "dpmpp_sde_native", "dpmpp_2m_sde_native", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "exp_heun_2_x0",
    "exp_heun_2_x0_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece",
})  # fmt: skip
"""Solvers that cannot step from sigma 1, see `NoiseSchedule.from_below_one`.

Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, offset_first_sigma_for_snr.
"""

MASKS_WITH_STEP_NOISE = frozenset({"ddim"})
"""Solvers that show the kept part of a masked video with the first noise of `noise.step_noise`, not the starting one.

Source: comfyanonymous/ComfyUI comfy/samplers.py, sampler_object and KSAMPLER.sample (v0.33.0).
"""

__all__ = [
    "FROM_BELOW_ONE",
    "MASKS_WITH_STEP_NOISE",
    "SOLVERS",
    "WITHOUT_PENULTIMATE",
    "Guess",
    "Solver",
    "SolverRecord",
    "StepResult",
]
