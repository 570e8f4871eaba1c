"""Causal models, which make a video chunk by chunk."""

from .beginning import beginning_of
from .checks import check_chunks, check_order, tell_chunks

__all__ = ["beginning_of", "check_chunks", "check_order", "tell_chunks"]
