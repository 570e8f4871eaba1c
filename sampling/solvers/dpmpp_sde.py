"""The stochastic DPM-Solver++ of second order, multistep."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..noise import NoiseSource
from ..step import NoiseLevel, Predict, half_log_snr, predict_denoised
from .dpmpp_2m import MidpointHistory


@dataclass(slots=True)
class DPMSolverStochastic:
    """Solves the reverse diffusion with its noise: as DPM-Solver++ 2M, with fresh noise at every step but the last.

    Source: Lu et al., "DPM-Solver++", arXiv 2211.01095, appendix on SDE solvers (SDE-DPM-Solver++ 2M); as
    DPMSolverMultistepScheduler of huggingface/diffusers with algorithm_type "sde-dpmsolver++" and flow prediction.
    """

    noise: NoiseSource
    history: MidpointHistory

    @classmethod
    def start(cls, noise: NoiseSource) -> DPMSolverStochastic:
        """A run without history that draws from `noise`."""
        return cls(noise, MidpointHistory())

    def advance(
        self, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> tuple[Tensor, Tensor]:
        """One step; see `SolverRun.advance`."""
        denoised = predict_denoised(predict, latent, level)
        length = half_log_snr(following.sigma) - half_log_snr(level.sigma)
        target = self.history.extrapolate(denoised, length, is_last_step=level.is_last_step)
        forgotten = -math.expm1(-2 * length)  # the part of the noise variance that is drawn anew
        mean = following.sigma / level.sigma * math.exp(-length) * latent + following.alpha * forgotten * target
        return mean + following.sigma * math.sqrt(forgotten) * self.noise(latent), denoised
