"""Attention: kernels, those of optional packages, and which tokens of a video look at which."""

from .kernel import Attention, sdpa_attention, without_gradient
from .names import ATTENTION, resolve_attention, resolve_pattern
from .pattern import Pattern, every_token
from .tiles import Grid

__all__ = [
    "ATTENTION",
    "Attention",
    "Grid",
    "Pattern",
    "every_token",
    "resolve_attention",
    "resolve_pattern",
    "sdpa_attention",
    "without_gradient",
]
