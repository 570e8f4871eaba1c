"""Heun's method."""

from __future__ import annotations

from torch import Tensor

from ..noise import NoiseSource
from ..step import NoiseLevel, Predict


class Heun:
    """Second order: an Euler step, then again with the mean of the velocities at both its ends.

    Asks the model twice per step, except for the step that ends at sigma 0, where it is Euler's.

    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364,
    algorithm 1.
    """

    @classmethod
    def start(cls, noise: NoiseSource) -> Heun:
        """A run; it remembers nothing."""
        return cls()

    def advance(
        self, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> tuple[Tensor, Tensor]:
        """One step; see `SolverRun.advance`."""
        velocity = predict(latent, level)
        denoised = latent - level.sigma * velocity
        step = following.sigma - level.sigma
        if following.sigma == 0.0:
            return latent + step * velocity, denoised
        end_velocity = predict(latent + step * velocity, following)
        return latent + step * (velocity + end_velocity) / 2, denoised
