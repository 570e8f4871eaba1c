"""Solvers of ComfyUI's list that step in log-SNR, most of them with fresh noise."""

from .dpmpp_2m_sde import NativeStochasticMultistep
from .dpmpp_3m_sde import StochasticThirdOrder
from .dpmpp_sde import StochasticMiddleStep
from .sa_solver import StochasticAdams
from .seeds import ThreeStages, TwoStages

__all__ = [
    "NativeStochasticMultistep",
    "StochasticAdams",
    "StochasticMiddleStep",
    "StochasticThirdOrder",
    "ThreeStages",
    "TwoStages",
]
