"""What the sampling loop asks of a solver, and what a solver remembers between steps."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from ...common.records import record
from ..noise import NoiseState
from ..step import NoiseLevel, Predict


class Guess(NamedTuple):
    """A past answer of the model: at which sigma it was asked, and the clean latent [B, C, T, h, w] it guessed."""

    sigma: float
    denoised: Tensor


@record(eq=False)
class SolverRecord:
    """What a solver remembers between two steps; each fills what it needs.

    Attributes:
        noise: where the noise of the run stands, for stochastic solvers.
        past: the answers from which the next step extrapolates, newest last.
        start_latent: [B, C, T, h, w], the corrected latent that the last step began from.
        added_noise: [B, C, T, h, w], what the last step added.
    """

    noise: NoiseState
    past: tuple[Guess, ...] = ()
    start_latent: Tensor | None = None
    added_noise: Tensor | None = None


class StepResult(NamedTuple):
    """What a step gives.

    `record`: what is remembered for the next one; `latent` [B, C, T, h, w] at the following level; `denoised`: the
    model's guess of the clean latent.
    """

    record: SolverRecord
    latent: Tensor
    denoised: Tensor


class Solver(Protocol):
    """An entry of `SOLVERS`; it holds nothing of a run."""

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step: an empty memory."""
        ...

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step from `level` to `following`.

        Args:
            record: what the step before it left.
            predict: asks the model for a velocity.
            latent: [B, C, T, h, w], the noisy latent at `level`; not written to.
        """
        ...
