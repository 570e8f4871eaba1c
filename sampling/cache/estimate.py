"""How far the model's answer has moved since it was last computed: what an estimate of it is asked."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ...dit.inputs import DitInputs
from ..step import NoiseLevel
from .cache import Kept, Question


class Estimate(Protocol):
    """A way to estimate it, in the steps that may be spared. What it remembers is by names of its own."""

    def start(self, noted: Kept, step: NoiseLevel, question: Question) -> tuple[float | None, Kept]:
        """How much more the answer will be off if this step is spared too; None where that is not known.

        Args:
            noted: what it remembers.
            question: the first of the step.

        Returns:
            The change, and what to remember now.
        """
        ...

    def computed(self, noted: Kept, inputs: DitInputs, velocity: Tensor) -> Kept:
        """What to remember after the first question of a step was computed in full."""
        ...

    def kept_bytes(self, latent_bytes: int) -> int:
        """The most that it remembers, with latents of so many bytes in float32."""
        ...


def number(value: float | Tensor) -> Tensor:
    """A number as it is remembered: [], float64, CPU."""
    return torch.tensor(float(value), dtype=torch.float64)
