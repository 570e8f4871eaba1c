"""DPM-Solver++ 2M as native nodes compute it for flow models."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ..noise import NoiseState
from ..step import NoiseLevel, Predict, predict_denoised
from .dpmpp_2m import extrapolate
from .solver import Guess, SolverRecord, StepResult


class NativeDPMSolverMultistep:
    """DPM-Solver++ 2M that steps in log(1 / sigma), as if the noise were added to the clean latent at full weight.

    That is the time of variance-exploding models. For flow matching it leaves out the signal weight 1 - sigma, so that
    a result differs from that of `dpmpp_2m`, whose time is log((1 - sigma) / sigma); with the same model both converge
    to the same video. The first step, and one that ends at sigma 0, are of first order.

    Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_dpmpp_2m (v0.3.64 and v0.33.0).
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        guess = Guess(level.sigma, predict_denoised(predict, latent, level))
        ends = following.sigma == 0.0
        length = math.inf if ends else math.log(level.sigma / following.sigma)
        last = math.log(record.past[-1].sigma / level.sigma) if record.past and not ends else None
        target = extrapolate(record, guess, length, last)
        moved = following.sigma / level.sigma * latent - math.expm1(-length) * target
        return StepResult(replace(record, past=(guess,)), moved, guess.denoised)
