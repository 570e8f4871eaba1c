"""The stochastic Adams solver, predictor and corrector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from .....common.records import record
from ....noise import NoiseState
from ....step import NoiseLevel, Predict, predict_denoised
from ...solver import Guess, SolverRecord, StepResult
from .time import kept, spread, time_of

PREDICTOR_ORDER, CORRECTOR_ORDER = 3, 4
NOISY_PART = (0.2, 0.8)
"""Between which parts of the way, counted on the shifted schedule, steps add noise."""


@record
class StochasticAdams:
    """SA-Solver: each step is predicted, and corrected with the guess at its end; of lower order at both ends.

    Attributes:
        asks_again: whether the corrected latent is asked, too (PECE), at twice the cost.

    Source: Xue et al., "SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models", arXiv 2309.05019,
    equations 14 to 19; comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_sa_solver and
    comfy/k_diffusion/sa_solver.py (v0.33.0).
    """

    asks_again: bool = False

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`. Its latents between steps are predicted ones, to be corrected."""
        guess = Guess(level.sigma, predict_denoised(predict, latent, level))
        known = (*record.past, guess)[-CORRECTOR_ORDER:]
        ends_clean = level.course.sigmas[-1] == 0.0
        steps_left = level.steps - level.index if ends_clean else CORRECTOR_ORDER
        order = min(len(known), steps_left)
        if record.start_latent is not None and (following.sigma > 0.0 or self.asks_again):
            latent = _corrected(record, known[-order:], level)
            if self.asks_again:
                guess = Guess(level.sigma, predict_denoised(predict, latent, level))
                known = (*known[:-1], guess)
        if following.sigma == 0.0:
            return StepResult(replace(record, past=known), guess.denoised, guess.denoised)
        order = min(len(known), PREDICTOR_ORDER, steps_left - 1 if ends_clean else PREDICTOR_ORDER)
        eta = _noisiness(following)
        moved = _moved(latent, known[-order:], level.sigma, following.sigma, eta)
        state, noise = record.noise, None
        if eta:
            noise, state = state.draw(latent)
            noise = spread(level.sigma, following.sigma, eta) * noise
            moved = moved + noise
        past = known[1 - CORRECTOR_ORDER :]
        return StepResult(SolverRecord(state, past, latent, noise), moved, guess.denoised)


def _corrected(record: SolverRecord, known: Sequence[Guess], level: NoiseLevel) -> Tensor:
    """The latent at a level again, now that the guess there is known; with the noise that it has already."""
    assert record.start_latent is not None
    moved = _moved(record.start_latent, known, record.past[-1].sigma, level.sigma, _noisiness(level))
    return moved if record.added_noise is None else moved + record.added_noise


def _noisiness(level: NoiseLevel) -> float:
    """tau^2 of a step that ends at a level: 1 in `NOISY_PART`, else 0."""
    shift = level.course.shift
    first, last = (shift * (1 - part) / (1 + (shift - 1) * (1 - part)) for part in NOISY_PART)
    return 1.0 if first >= level.sigma >= last else 0.0


def _moved(latent: Tensor, known: Sequence[Guess], sigma: float, goal: float, eta: float) -> Tensor:
    """The latent of `sigma` at `goal`, along the polynomial through the known guesses."""
    moved = kept(latent, sigma, goal, eta)
    times = [time_of(guess.sigma) for guess in known]
    for weight, guess in zip(_weights(times, time_of(sigma), time_of(goal), 1.0 + eta), known):
        moved = moved + (1.0 - goal) * weight * guess.denoised
    return moved


def _weights(times: Sequence[float], start: float, end: float, rate: float) -> list[float]:
    """Of each guess: the integral of rate e^(rate (x - end)) times its Lagrange polynomial, from start to end."""
    # From the end of the step on, where the powers are small, so that the system is well conditioned.
    powers = np.arange(len(times))
    integrals, before = [], start - end
    decay = math.exp(rate * before)
    for power in powers.tolist():
        at_end = 1.0 if power == 0 else 0.0
        lower = power / rate * integrals[-1] if power else 0.0
        integrals.append(at_end - before**power * decay - lower)
    places = np.array([time - end for time in times])
    return np.linalg.solve(np.vander(places, increasing=True).T, np.array(integrals)).tolist()
