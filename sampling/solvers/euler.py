"""Euler's method."""

from __future__ import annotations

from torch import Tensor

from ..noise import NoiseState
from ..step import NoiseLevel, Predict
from .solver import SolverRecord, StepResult


class Euler:
    """First order: follows the velocity in a straight line to the next sigma.

    Source: Esser et al., "Scaling Rectified Flow Transformers", arXiv 2403.03206, section 2;
    Karras et al., arXiv 2206.00364, algorithm 1 without its correction.
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        velocity = predict(latent, level)
        moved = latent + (following.sigma - level.sigma) * velocity
        return StepResult(record, moved, latent - level.sigma * velocity)
