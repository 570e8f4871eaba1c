"""DPM-Solver++ of second order, multistep."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ..noise import NoiseState
from ..step import NoiseLevel, Predict, half_log_snr, predict_denoised
from .solver import Guess, SolverRecord, StepResult


def extrapolate(record: SolverRecord, guess: Guess, length: float, last_length: float | None) -> Tensor:
    """The denoised latent expected in the middle of a step, from its own guess and that of the step before it.

    Args:
        length: of the step, in the solver's time.
        last_length: of the step before it; None to take the guess as it is.
    """
    if last_length is None:
        return guess.denoised
    return guess.denoised + (guess.denoised - record.past[-1].denoised) * (length / last_length) / 2


def half_log_snr_extrapolation(
    record: SolverRecord, guess: Guess, level: NoiseLevel, following: NoiseLevel
) -> tuple[float, Tensor]:
    """A step's length in half log-SNR, and its extrapolated guess; the first and the last step have their own."""
    length = half_log_snr(following.sigma) - half_log_snr(level.sigma)
    last = None
    if record.past and not level.is_last_step:
        last = half_log_snr(level.sigma) - half_log_snr(record.past[-1].sigma)
    return length, extrapolate(record, guess, length, last)


class DPMSolverMultistep:
    """Second order in half log-SNR, extrapolating from the previous denoised latent (midpoint form).

    The first and the last step are of first order.

    Source: Lu et al., "DPM-Solver++", arXiv 2211.01095, algorithm 2; as DPMSolverMultistepScheduler of
    huggingface/diffusers with flow prediction, and wan/utils/fm_solvers.py of Wan-Video/Wan2.1.
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
        moved = following.sigma / level.sigma * latent - following.alpha * math.expm1(-length) * target
        return StepResult(replace(record, past=(guess,)), moved, guess.denoised)
