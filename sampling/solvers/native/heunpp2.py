"""Heun's method over two steps at a time."""

from __future__ import annotations

from torch import Tensor

from ...noise import NoiseState
from ...step import NoiseLevel, Predict
from ..solver import SolverRecord, StepResult


class HeunPlusPlus:
    """A step along the mean of three velocities: here, after it, and after the next, each by its sigma.

    The weight of the later ones is their sigma over three times the first of the run. The step before the last takes
    two velocities, the last one its own.

    Source: Carzit/sd-webui-samplers-scheduler; comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_heunpp2
    (v0.3.64 and v0.33.0).
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        velocity = predict(latent, level)
        denoised = latent - level.sigma * velocity
        step, course = following.sigma - level.sigma, level.course
        if level.is_last_step:
            return StepResult(record, latent + step * velocity, denoised)
        ahead = latent + step * velocity
        answers = [(following.sigma, predict(ahead, following))]
        number = following.index + 1
        if number < following.steps:
            later = following.moved(course.sigmas[number], course.timesteps[number])
            ahead = ahead + (later.sigma - following.sigma) * answers[0][1]
            answers.append((later.sigma, predict(ahead, later)))
        whole = (len(answers) + 1) * course.sigmas[0]
        mean = (1 - sum(sigma for sigma, _ in answers) / whole) * velocity
        for sigma, answer in answers:
            mean = mean + sigma / whole * answer
        return StepResult(record, latent + step * mean, denoised)
