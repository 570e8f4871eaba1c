"""Ancestral solvers for flow models: each step goes below its goal and is noised up to it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ...noise import NoiseState
from ...step import NoiseLevel, Predict, predict_denoised
from ..solver import SolverRecord, StepResult


class Descent(NamedTuple):
    """Where a step goes before it is noised: `sigma`, and the weights of what is there and of the noise."""

    sigma: float
    kept: float
    noise: float


def descent(level: NoiseLevel, following: NoiseLevel) -> Descent:
    """From one level to the next, with all the noise that the reverse diffusion has (eta 1)."""
    sigma = following.sigma**2 / level.sigma
    kept = following.alpha / (1.0 - sigma)
    return Descent(sigma, kept, math.sqrt(max(following.sigma**2 - sigma**2 * kept**2, 0.0)))


class AncestralEuler:
    """Euler steps to a sigma below the goal, and fresh noise up to it.

    Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_euler_ancestral_RF (v0.3.64 and v0.33.0).
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
        down = descent(level, following)
        noise, state = record.noise.draw(latent)
        moved = _towards(latent, denoised, level.sigma, down.sigma)
        return StepResult(replace(record, noise=state), down.kept * moved + down.noise * noise, denoised)


class AncestralTwoStage:
    """As `AncestralEuler`, with the model's guess of the clean latent from the middle of the step in log-SNR.

    Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_dpmpp_2s_ancestral_RF (v0.3.64 and v0.33.0);
    the middle of a step from sigma 1 is 0.9999.
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
        down = descent(level, following)
        middle = _between(level, down.sigma)
        guess = predict_denoised(predict, _towards(latent, denoised, level.sigma, middle.sigma), middle)
        noise, state = record.noise.draw(latent)
        moved = _towards(latent, guess, level.sigma, down.sigma)
        return StepResult(replace(record, noise=state), down.kept * moved + down.noise * noise, denoised)


def _towards(latent: Tensor, denoised: Tensor, sigma: float, goal: float) -> Tensor:
    """The latent of `sigma` moved to the sigma `goal` on the straight line to a clean one."""
    return goal / sigma * latent + (1.0 - goal / sigma) * denoised


def _between(level: NoiseLevel, goal: float) -> NoiseLevel:
    """The level half way in log-SNR from one to a sigma."""
    sigma = 0.9999
    if level.sigma < 1.0:
        odds = math.sqrt((1.0 / level.sigma - 1.0) * (1.0 / goal - 1.0))
        sigma = 1.0 / (1.0 + odds)
    return level.moved(sigma)
