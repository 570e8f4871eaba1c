"""The stochastic DPM-Solver++ with the middle of a step."""

from __future__ import annotations

import math

from torch import Tensor

from ....noise import NoiseState
from ....step import NoiseLevel, Predict, predict_denoised
from ...solver import SolverRecord, StepResult
from .time import sigma_at, time_of


class StochasticMiddleStep:
    """SDE-DPM-Solver++ 2S: half a step with noise, and the whole one with the guess from there.

    Its noise is that of a Brownian motion over sigma, so that both parts share it.

    Source: Lu et al., "DPM-Solver++", arXiv 2211.01095, appendix on SDE solvers; comfyanonymous/ComfyUI
    comfy/k_diffusion/sampling.py, sample_dpmpp_sde (v0.33.0).
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        denoised = predict_denoised(predict, latent, level)
        if following.sigma == 0.0:
            return StepResult(record, denoised, denoised)
        middle = level.moved(sigma_at((time_of(level.sigma) + time_of(following.sigma)) / 2))
        half = _ancestral(record, latent, denoised, level, middle)
        guess = predict_denoised(predict, half, middle)
        return StepResult(record, _ancestral(record, latent, guess, level, following), denoised)


def _ancestral(record: SolverRecord, latent: Tensor, denoised: Tensor, level: NoiseLevel, goal: NoiseLevel) -> Tensor:
    """A step down below the goal, and noised up to it, in the noise-to-signal ratio."""
    at, aim = (math.exp(-time_of(each.sigma)) for each in (level, goal))
    up = min(aim, math.sqrt(aim**2 * (at**2 - aim**2) / at**2))
    left = math.sqrt(aim**2 - up**2) / at
    noise = record.noise.between(level, goal.sigma, latent)
    alpha = 1.0 / (1.0 + at)  # of a sigma that may be 1
    return goal.alpha * (left / alpha * latent + (1.0 - left) * denoised + up * noise)
