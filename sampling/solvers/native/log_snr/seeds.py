"""Stochastic exponential solvers of two and of three stages."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from .....common.records import record
from ....noise import NoiseState
from ....step import NoiseLevel, Predict, predict_denoised
from ...solver import SolverRecord, StepResult
from .time import kept, phi_1, phi_2, sigma_at, time_of


class _Noise:
    """The noise of a step, which grows from stage to stage."""

    def __init__(self, state: NoiseState, length: float) -> None:
        self.state, self._length, self._reached = state, length, 0.0
        self._sum: Tensor | float = 0.0

    def up_to(self, part: float, latent: Tensor) -> Tensor | float:
        """For the stage at this part of the step, over its sigma."""
        drawn, self.state = self.state.draw(latent)
        ahead = (self._reached - part) * self._length
        self._sum = self._sum * math.exp(ahead) + math.sqrt(-math.expm1(2 * ahead)) * drawn
        self._reached = part
        return self._sum


class _NoNoise(_Noise):
    def up_to(self, part: float, latent: Tensor) -> float:
        return 0.0


@record
class TwoStages:
    """SEEDS-2: a stage at a part of the step in lambda, and the whole of it with both guesses.

    Attributes:
        part: where the stage lies, 0..1.
        eta: 1 for the diffusion with its noise, 0 for its flow.
        exact: whether the line through both guesses is integrated exactly, or taken from the middle of the step.

    Source: Gonzalez et al., "SEEDS: Exponential SDE Solvers for Fast High-Quality Sampling from Diffusion Models",
    arXiv 2305.14267, algorithm 2; comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_seeds_2,
    sample_exp_heun_2_x0 and sample_exp_heun_2_x0_sde (v0.33.0).
    """

    part: float = 0.5
    eta: float = 1.0
    exact: bool = False

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
        length = time_of(following.sigma) - time_of(level.sigma)
        noise = (_Noise if self.eta else _NoNoise)(record.noise, length * self.eta)
        whole = -length * (1.0 + self.eta)
        stage = _stage(level, following, self.part)
        moved = kept(latent, level.sigma, stage.sigma, self.eta) - stage.alpha * phi_1(self.part * whole) * denoised
        guess = predict_denoised(predict, moved + stage.sigma * noise.up_to(self.part, latent), stage)
        second = phi_2(whole) / self.part if self.exact else phi_1(whole) / (2 * self.part)
        target = (phi_1(whole) - second) * denoised + second * guess
        moved = kept(latent, level.sigma, following.sigma, self.eta) - following.alpha * target
        moved = moved + following.sigma * noise.up_to(1.0, latent)
        return StepResult(replace(record, noise=noise.state), moved, denoised)


class ThreeStages:
    """SEEDS-3: stages at a third and at two thirds of the step in lambda.

    Source: as `TwoStages`, algorithm 3; comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_seeds_3 (v0.33.0).
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
        length = time_of(following.sigma) - time_of(level.sigma)
        noise, whole = _Noise(record.noise, length), -2.0 * length
        first, second = (_stage(level, following, part) for part in (1 / 3, 2 / 3))
        moved = kept(latent, level.sigma, first.sigma, 1.0) - first.alpha * phi_1(whole / 3) * denoised
        guess = predict_denoised(predict, moved + first.sigma * noise.up_to(1 / 3, latent), first)
        weight = 2.0 * phi_2(2 / 3 * whole)
        target = (phi_1(2 / 3 * whole) - weight) * denoised + weight * guess
        moved = kept(latent, level.sigma, second.sigma, 1.0) - second.alpha * target
        guess = predict_denoised(predict, moved + second.sigma * noise.up_to(2 / 3, latent), second)
        weight = phi_2(whole) * 3 / 2
        target = (phi_1(whole) - weight) * denoised + weight * guess
        moved = kept(latent, level.sigma, following.sigma, 1.0) - following.alpha * target
        moved = moved + following.sigma * noise.up_to(1.0, latent)
        return StepResult(replace(record, noise=noise.state), moved, denoised)


def _stage(level: NoiseLevel, following: NoiseLevel, part: float) -> NoiseLevel:
    """The level at a part of the step in lambda."""
    if part == 1.0:
        return following
    start, end = time_of(level.sigma), time_of(following.sigma)
    return level.moved(sigma_at(start + part * (end - start)))
