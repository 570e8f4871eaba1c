"""The extended reverse-time diffusion, solved with three stages."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from torch import Tensor

from ...noise import NoiseState
from ...step import NoiseLevel, Predict, predict_denoised
from ..solver import Guess, SolverRecord, StepResult

HIGHEST = 1.0 - 1e-7
"""The highest sigma that a step begins at."""
POINTS = 200
"""Of the numerical integrals over a step."""


class ExtendedReverseTime:
    """ER-SDE-Solver-3 in lambda = sigma / (1 - sigma), with the noise scale lambda * (exp(lambda^0.3) + 10).

    At sigma 1 lambda is infinite: a run starts below it (see `solvers.FROM_BELOW_ONE`), and a step from there takes the
    highest sigma that it can for it.

    Source: Cui et al., "Elucidating the solution space of extended reverse-time SDE for diffusion models",
    arXiv 2309.06169, algorithm 2; comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_er_sde (v0.33.0).
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        guess = Guess(level.sigma, predict_denoised(predict, latent, level))
        past = (*record.past[-1:], guess)
        if following.sigma == 0.0:
            return StepResult(replace(record, past=past), guess.denoised, guess.denoised)
        at, goal = _lambda(level.sigma), _lambda(following.sigma)
        ratio = _scale(goal) / _scale(at)
        alpha = 1.0 / (1.0 + at)
        moved = following.alpha / alpha * ratio * latent + following.alpha * (1.0 - ratio) * guess.denoised
        moved = moved + following.alpha * _higher_orders((*record.past, guess), at, goal)
        noise, state = record.noise.draw(latent)
        spread = math.sqrt(max(goal**2 - at**2 * ratio**2, 0.0))
        moved = moved + following.alpha * spread * noise
        return StepResult(replace(record, noise=state, past=past), moved, guess.denoised)


def _lambda(sigma: float) -> float:
    sigma = min(sigma, HIGHEST)
    return sigma / (1.0 - sigma)


def _scale(value: float) -> float:
    return value * (math.exp(value**0.3) + 10.0)


def _higher_orders(past: tuple[Guess, ...], at: float, goal: float) -> Tensor | float:
    """What stages 2 and 3 add, by the changes of the last guesses; nothing where there is one alone."""
    if len(past) < 2:
        return 0.0
    width = (at - goal) / POINTS
    places = goal + np.arange(POINTS) * width
    weights = 1.0 / (places * (np.exp(places**0.3) + 10.0))
    slope = _slope(*past[-2:])
    added = (goal - at + float(weights.sum()) * width * _scale(goal)) * slope
    if len(past) < 3:
        return added
    bend = (slope - _slope(*past[-3:-1])) / ((at - _lambda(past[-3].sigma)) / 2)
    integral = float(((places - at) * weights).sum()) * width
    return added + ((goal - at) ** 2 / 2 + integral * _scale(goal)) * bend


def _slope(older: Guess, newer: Guess) -> Tensor:
    """The change of the guess over that of lambda."""
    return (newer.denoised - older.denoised) / (_lambda(newer.sigma) - _lambda(older.sigma))
