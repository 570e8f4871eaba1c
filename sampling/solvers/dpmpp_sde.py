"""The stochastic DPM-Solver++ of second order, multistep."""

from __future__ import annotations

import math

from torch import Tensor

from ..noise import NoiseState
from ..step import NoiseLevel, Predict, predict_denoised
from .dpmpp_2m import half_log_snr_extrapolation
from .solver import Guess, SolverRecord, StepResult


class DPMSolverStochastic:
    """Solves the reverse diffusion with its noise: as DPM-Solver++ 2M, with fresh noise at every step but the last.

    Source: Lu et al., "DPM-Solver++", arXiv 2211.01095, appendix on SDE solvers (SDE-DPM-Solver++ 2M); as
    DPMSolverMultistepScheduler of huggingface/diffusers with algorithm_type "sde-dpmsolver++" and flow prediction.
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        guess = Guess(level.sigma, predict_denoised(predict, latent, level))
        length, target = half_log_snr_extrapolation(record, guess, level, following)
        forgotten = -math.expm1(-2 * length)  # the part of the noise variance that is drawn anew
        mean = following.sigma / level.sigma * math.exp(-length) * latent + following.alpha * forgotten * target
        noise, state = record.noise.draw(latent)
        moved = mean + following.sigma * math.sqrt(forgotten) * noise
        return StepResult(SolverRecord(state, past=(guess,)), moved, guess.denoised)
