"""What the sampling loop asks of a solver."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..noise import NoiseSource
from ..step import NoiseLevel, Predict


class SolverRun(Protocol):
    """A solver in the middle of a run, with what it remembers of earlier steps."""

    def advance(
        self, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> tuple[Tensor, Tensor]:
        """One step from `level` to `following`.

        Args:
            predict: asks the model for a velocity.
            latent: [B, C, T, h, w], the noisy latent at `level`; not written to.

        Returns:
            The latent at `following`, and the model's guess of the clean latent.
        """
        ...


class Solver(Protocol):
    """An entry of `SOLVERS`."""

    def start(self, noise: NoiseSource) -> SolverRun:
        """A run with an empty memory; stochastic solvers draw from `noise`, the others ignore it."""
        ...
