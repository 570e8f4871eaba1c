"""The noise that a run starts from, and that of its steps."""

from .gaussian import (
    NoiseState,
    add_noise,
    chunk_noise,
    indexed_noise,
    remove_signal_weight,
    seeded_noise,
    step_noise,
)

__all__ = [
    "NoiseState",
    "add_noise",
    "chunk_noise",
    "indexed_noise",
    "remove_signal_weight",
    "seeded_noise",
    "step_noise",
]
