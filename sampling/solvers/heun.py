"""Heun's method."""

from __future__ import annotations

from torch import Tensor

from ..noise import NoiseState
from ..step import NoiseLevel, Predict
from .solver import SolverRecord, StepResult


class Heun:
    """Second order: an Euler step, then again with the mean of the velocities at both its ends.

    Asks the model twice per step, except for the step that ends at sigma 0, where it is Euler's.

    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364,
    algorithm 1.
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        velocity = predict(latent, level)
        denoised = latent - level.sigma * velocity
        step = following.sigma - level.sigma
        if following.sigma == 0.0:
            return StepResult(record, latent + step * velocity, denoised)
        end_velocity = predict(latent + step * velocity, following)
        return StepResult(record, latent + step * (velocity + end_velocity) / 2, denoised)
