"""The stochastic DPM-Solver++ of third order, multistep."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ....noise import NoiseState
from ....step import NoiseLevel, Predict, predict_denoised
from ...solver import Guess, SolverRecord, StepResult
from .time import forgotten, kept, phi_2, spread, time_of


class StochasticThirdOrder:
    """SDE-DPM-Solver++ 3M: with the slope and the bend of the last guesses, and noise of a Brownian motion.

    Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_dpmpp_3m_sde (v0.33.0), after
    crowsonkb/k-diffusion; the method of Lu et al., arXiv 2211.01095.
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        guess = Guess(level.sigma, predict_denoised(predict, latent, level))
        known = (*record.past, guess)
        after = replace(record, past=known[-2:])
        if following.sigma == 0.0:
            return StepResult(after, guess.denoised, guess.denoised)
        step = (level.sigma, following.sigma)
        moved = kept(latent, *step, eta=1.0) + following.alpha * forgotten(*step, eta=1.0) * guess.denoised
        if record.past:
            length = time_of(following.sigma) - time_of(level.sigma)
            moved = moved + following.alpha * _higher_orders(known, length)
        noise = record.noise.between(level, following.sigma, latent)
        return StepResult(after, moved + spread(*step) * noise, guess.denoised)


def _higher_orders(known: tuple[Guess, ...], length: float) -> Tensor:
    """What the slope of the last two guesses adds, and the bend of the last three where there are so many."""
    slope, reach = _slope(known[-2], known[-1], length)
    second = -phi_2(-2 * length)
    if len(known) < 3:
        return second * slope
    older, older_reach = _slope(known[-3], known[-2], length)
    bend = (slope - older) / (reach + older_reach)
    third = second / (2 * length) - 0.5
    return second * (slope + reach * bend) - third * bend


def _slope(older: Guess, newer: Guess, length: float) -> tuple[Tensor, float]:
    """The change of the guess in a step of `length`, and how many of these lie between the two."""
    reach = (time_of(newer.sigma) - time_of(older.sigma)) / length
    return (newer.denoised - older.denoised) / reach, reach
