"""DPM-Solver++ of second order, multistep."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..noise import NoiseSource
from ..step import NoiseLevel, Predict, half_log_snr, predict_denoised


@dataclass(slots=True)
class MidpointHistory:
    """The last answer of the model, from which the next step is extrapolated; lengths are in half log-SNR."""

    denoised: Tensor | None = None
    length: float = math.nan

    def extrapolate(self, denoised: Tensor, length: float, *, is_last_step: bool) -> Tensor:
        """The denoised latent expected in the middle of a step, then remembers; no guess for the first and last."""
        target = denoised
        if self.denoised is not None and not is_last_step:
            target = denoised + (denoised - self.denoised) * (length / self.length) / 2
        self.denoised, self.length = denoised, length
        return target


@dataclass(slots=True)
class DPMSolverMultistep:
    """Second order in half log-SNR, extrapolating from the previous denoised latent (midpoint form).

    The first and the last step are of first order.

    Source: Lu et al., "DPM-Solver++", arXiv 2211.01095, algorithm 2; as DPMSolverMultistepScheduler of
    huggingface/diffusers with flow prediction, and wan/utils/fm_solvers.py of Wan-Video/Wan2.1.
    """

    history: MidpointHistory

    @classmethod
    def start(cls, noise: NoiseSource) -> DPMSolverMultistep:
        """A run without history."""
        return cls(MidpointHistory())

    def advance(
        self, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> tuple[Tensor, Tensor]:
        """One step; see `SolverRun.advance`."""
        denoised = predict_denoised(predict, latent, level)
        length = half_log_snr(following.sigma) - half_log_snr(level.sigma)
        target = self.history.extrapolate(denoised, length, is_last_step=level.is_last_step)
        return following.sigma / level.sigma * latent - following.alpha * math.expm1(-length) * target, denoised
