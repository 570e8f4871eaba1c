"""What ComfyUI calls its samplers and schedulers, and what of them runs here."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .....common.errors import InvalidInputError
from .....common.log import logger
from .....sampling.schedule import SCHEDULES
from .....sampling.solvers import SOLVERS

SAMPLERS = [
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "exp_heun_2_x0",
    "exp_heun_2_x0_sde", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm",
    "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip
SCHEDULERS = [
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
]  # fmt: skip
_NATIVE = "_native"
"""The ending of ours that are ComfyUI's, where another one has the plain name."""
_OTHERS = frozenset({"dpmpp_sde"})
"""Names that are ComfyUI's for a solver of its own, and ours for another one."""


def _ours(names: Sequence[str], table: Collection[str]) -> dict[str, str]:
    found = {name: name + _NATIVE if name + _NATIVE in table else name for name in names}
    return {name: own for name, own in found.items() if own in table and own not in _OTHERS}


SOLVER_OF = _ours(SAMPLERS, SOLVERS)
"""Those of `SAMPLERS` that run here -> the name in our table."""
SCHEDULE_OF = _ours(SCHEDULERS, SCHEDULES)
"""Those of `SCHEDULERS` that run here -> the name in our table."""


def check_names(sampler: str | None = None, scheduler: str | None = None) -> None:
    """Refuses a sampler or a scheduler that does not run here; None stands for one that is not known yet.

    Raises:
        InvalidInputError: it does not.
    """
    for kind, name, known in (("sampler", sampler, SOLVER_OF), ("scheduler", scheduler, SCHEDULE_OF)):
        if name is not None and name not in known:
            raise InvalidInputError(
                f"The {kind} '{name}' does not run on the command line. Choose one of: {', '.join(known)}; or run this "
                "workflow in ComfyUI."
            )


def solver_named(sampler: str) -> str:
    """Our name of a sampler.

    Raises:
        InvalidInputError: it does not run here.
    """
    check_names(sampler=sampler)
    if sampler == "dpmpp_2m_sde":
        logger.warning("dpmpp_2m_sde draws other noise here than in ComfyUI: the same seed gives another video.")
    return SOLVER_OF[sampler]


def schedule_named(scheduler: str) -> str:
    """Our name of a scheduler.

    Raises:
        InvalidInputError: it does not run here.
    """
    check_names(scheduler=scheduler)
    return SCHEDULE_OF[scheduler]
