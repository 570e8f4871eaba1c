"""Attention: kernels, those of optional packages, and which tokens of a video look at which."""

from .kernel import Attention, sdpa_attention, without_gradient
from .names import ATTENTION, resolve_attention

__all__ = ["ATTENTION", "Attention", "resolve_attention", "sdpa_attention", "without_gradient"]
