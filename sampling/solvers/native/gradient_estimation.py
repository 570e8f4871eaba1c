"""Euler steps whose direction is corrected by its change."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ...noise import NoiseState
from ...step import NoiseLevel, Predict
from ..solver import Guess, SolverRecord, StepResult


class GradientEstimation:
    """An Euler step along velocity + (gamma - 1) * (velocity - the last one), gamma = 2; first and last plainly.

    Source: Permenter and Yuan, "Interpreting and Improving Diffusion Models from an Optimization Perspective",
    arXiv 2306.04848, algorithm 2; comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_gradient_estimation.
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`. What is remembered as a guess is the velocity."""
        velocity = predict(latent, level)
        denoised = latent - level.sigma * velocity
        after = replace(record, past=(Guess(level.sigma, velocity),))
        if following.sigma == 0.0:
            return StepResult(after, denoised, denoised)
        direction = 2.0 * velocity - record.past[-1].denoised if record.past else velocity
        return StepResult(after, latent + (following.sigma - level.sigma) * direction, denoised)
