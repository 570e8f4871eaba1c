"""Euler's method."""

from __future__ import annotations

from torch import Tensor

from ..noise import NoiseSource
from ..step import NoiseLevel, Predict


class Euler:
    """First order: follows the velocity in a straight line to the next sigma.

    Source: Esser et al., "Scaling Rectified Flow Transformers", arXiv 2403.03206, section 2;
    Karras et al., arXiv 2206.00364, algorithm 1 without its correction.
    """

    @classmethod
    def start(cls, noise: NoiseSource) -> Euler:
        """A run; it remembers nothing."""
        return cls()

    def advance(
        self, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> tuple[Tensor, Tensor]:
        """One step; see `SolverRun.advance`."""
        velocity = predict(latent, level)
        return latent + (following.sigma - level.sigma) * velocity, latent - level.sigma * velocity
