"""Solvers of ComfyUI's list, as its nodes compute them for flow models; `NATIVE_SOLVERS` names them."""

from ..solver import Solver
from .adams import AdamsBashforth, even_weights, exact_weights, uneven_weights
from .ancestral import AncestralEuler, AncestralTwoStage
from .ddpm import DenoisingDiffusion
from .deis import ExponentialIntegrator
from .dpm_2 import MiddleStep
from .er_sde import ExtendedReverseTime
from .gradient_estimation import GradientEstimation
from .heunpp2 import HeunPlusPlus
from .log_snr import (
    NativeStochasticMultistep,
    StochasticAdams,
    StochasticMiddleStep,
    StochasticThirdOrder,
    ThreeStages,
    TwoStages,
)
from .res_multistep import ExponentialMultistep

NATIVE_SOLVERS: dict[str, Solver] = {
    "euler_ancestral": AncestralEuler(),
    "dpmpp_2s_ancestral": AncestralTwoStage(),
    "res_multistep": ExponentialMultistep(),
    "res_multistep_ancestral": ExponentialMultistep(ancestral=True),
    "gradient_estimation": GradientEstimation(),
    "er_sde": ExtendedReverseTime(),
    "dpm_2": MiddleStep(),
    "dpm_2_ancestral": MiddleStep(ancestral=True),
    "lms": AdamsBashforth(exact_weights),
    "ipndm": AdamsBashforth(even_weights),
    "ipndm_v": AdamsBashforth(uneven_weights),
    "deis": ExponentialIntegrator(),
    "heunpp2": HeunPlusPlus(),
    "ddpm": DenoisingDiffusion(),
    "dpmpp_sde_native": StochasticMiddleStep(),
    "dpmpp_2m_sde_native": NativeStochasticMultistep(),
    "dpmpp_2m_sde_heun": NativeStochasticMultistep(heun=True),
    "dpmpp_3m_sde": StochasticThirdOrder(),
    "exp_heun_2_x0": TwoStages(part=1.0, eta=0.0, exact=True),
    "exp_heun_2_x0_sde": TwoStages(part=1.0, exact=True),
    "seeds_2": TwoStages(),
    "seeds_3": ThreeStages(),
    "sa_solver": StochasticAdams(),
    "sa_solver_pece": StochasticAdams(asks_again=True),
}
"""What a user chooses -> the solver; the first six were there before the others."""
