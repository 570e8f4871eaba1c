"""What ComfyUI calls its samplers and schedulers, and what of them runs here."""

from __future__ import annotations

from .....common.errors import InvalidInputError
from .....common.log import logger

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
OTHERWISE_NAMED = {
    "dpmpp_2m": "dpmpp_2m_native", "dpmpp_sde": "dpmpp_sde_native", "dpmpp_2m_sde": "dpmpp_2m_sde_native",
    "dpmpp_sde_gpu": "dpmpp_sde_native", "dpmpp_2m_sde_gpu": "dpmpp_2m_sde_native",
    "dpmpp_2m_sde_heun_gpu": "dpmpp_2m_sde_heun", "dpmpp_3m_sde_gpu": "dpmpp_3m_sde",
}  # fmt: skip
"""Those of `SAMPLERS` whose name in our table is another."""
CFG_PLUS_PLUS = "it steps along what the negative prompt alone gives"
OWN_STEPS = "it makes steps of its own, not those of the scheduler"
LEFT_OUT = {
    **{name: (CFG_PLUS_PLUS, name.removesuffix("_cfg_pp")) for name in SAMPLERS if name.endswith("_cfg_pp")},
    "dpm_fast": (OWN_STEPS, "dpm_2"),
    "dpm_adaptive": (OWN_STEPS, "dpm_2"),
}
"""Those of `SAMPLERS` that do not run here: why, and what comes nearest."""
SOLVER_OF = {name: OTHERWISE_NAMED.get(name, name) for name in SAMPLERS if name not in LEFT_OUT}
"""Those of `SAMPLERS` that run here -> the name in our table."""
SCHEDULE_OF = {name: {"karras": "karras_native"}.get(name, name) for name in SCHEDULERS}
"""`SCHEDULERS` -> the name in our table."""


def check_names(sampler: str | None = None, scheduler: str | None = None) -> None:
    """Refuses a sampler or a scheduler that does not run here; None stands for one that is not known yet.

    Raises:
        InvalidInputError: it does not.
    """
    if sampler in LEFT_OUT:
        reason, nearest = LEFT_OUT[sampler]
        raise InvalidInputError(
            f"The sampler '{sampler}' does not run on the command line: {reason}. Choose '{nearest}', which comes "
            "nearest, or run this workflow in ComfyUI."
        )
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
    if sampler.endswith("_gpu"):
        logger.warning(
            "%s draws its noise on the CPU here, and in ComfyUI on the GPU: there the same seed gives another video.",
            sampler,
        )
    return SOLVER_OF[sampler]


def schedule_named(scheduler: str) -> str:
    """Our name of a scheduler.

    Raises:
        InvalidInputError: it does not run here.
    """
    check_names(scheduler=scheduler)
    return SCHEDULE_OF[scheduler]
