"""The diffusion exponential integrator with tabulated weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from ...noise import NoiseState
from ...step import NoiseLevel, Predict
from ..solver import Guess, SolverRecord, StepResult

ORDER = 3
POINTS = 10_000
"""Of the sum that stands for the integral over a step, as many as native's: its last bits depend on them."""
_LOWEST, _HIGHEST, _FIRST_TIME = 0.002, 80.0, 1e-3


class ExponentialIntegrator:
    """tAB-DEIS of third order, in the time of a variance-preserving model with the sigmas 0.002 to 80.

    That is the time in which native computes it for flow models, too. The weights integrate the polynomial through the
    last velocities. The first step, and one to sigma 0, are Euler's.

    Source: Zhang and Chen, "Fast Sampling of Diffusion Models with Exponential Integrator", arXiv 2204.13902, equation
    15; zju-pi/diff-sampler gits-main/solver_utils.py; comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_deis
    (v0.3.64 and v0.33.0).
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`. What is remembered as guesses are velocities."""
        velocity = predict(latent, level)
        denoised = latent - level.sigma * velocity
        known = (*record.past, Guess(level.sigma, velocity))[-ORDER:]
        after = replace(record, past=known[1 - ORDER :])
        if following.sigma == 0.0 or len(known) == 1:
            return StepResult(after, latent + (following.sigma - level.sigma) * velocity, denoised)
        newest_first = known[::-1]
        moved = latent
        for weight, each in zip(_weights([each.sigma for each in newest_first], following.sigma), newest_first):
            moved = moved + weight * each.denoised
        return StepResult(after, moved, denoised)


def _log_variance(sigma: float) -> float:
    return float(np.log(sigma**2 + 1))


_WIDTH = 2 * (_log_variance(_LOWEST) / _FIRST_TIME - _log_variance(_HIGHEST)) / (_FIRST_TIME - 1)
_BETA = _log_variance(_HIGHEST) - 0.5 * _WIDTH
"""The rate of noise at time t is `_BETA` + t `_WIDTH`."""


def _time(sigma: float) -> float:
    return float((np.sqrt(_BETA**2 + 2 * _WIDTH * np.log(sigma**2 + 1)) - _BETA) / _WIDTH)


def _weights(sigmas: Sequence[float], goal: float) -> list[float]:
    """Of the velocities at these sigmas, newest first, in a step from the first of them to `goal`."""
    times, end = [_time(sigma) for sigma in sigmas], _time(goal)
    places = np.linspace(times[0], end, POINTS)
    signal = np.exp(-0.5 * places**2 * _WIDTH - places * _BETA)
    rate = 0.5 * (places * _WIDTH + _BETA) / np.sqrt(signal * (1 - signal))
    weights = []
    for own in times:
        basis = np.ones_like(places)
        for other in times:
            if other != own:
                basis *= (places - other) / (own - other)
        weights.append(float((rate * basis).sum()) * (end - times[0]) / POINTS)
    return weights
