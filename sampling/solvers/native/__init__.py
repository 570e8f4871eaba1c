"""Solvers of ComfyUI's list, as its nodes compute them for flow models; see the help page of Wan Sampler."""

from .ancestral import AncestralEuler, AncestralTwoStage
from .er_sde import ExtendedReverseTime
from .gradient_estimation import GradientEstimation
from .res_multistep import ExponentialMultistep

__all__ = [
    "AncestralEuler",
    "AncestralTwoStage",
    "ExponentialMultistep",
    "ExtendedReverseTime",
    "GradientEstimation",
]
