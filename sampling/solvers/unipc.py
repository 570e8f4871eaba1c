"""The unified predictor-corrector solver, the official code's default."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from torch import Tensor

from ..noise import NoiseState
from ..step import NoiseLevel, Predict, half_log_snr
from .solver import Guess, SolverRecord, StepResult

# At sigma 1 the half log-SNR is minus infinity and a past step says nothing about a slope. Peers lower a first sigma
# of 1 by 1e-6 in float32, and so does this solver: the result depends on that number.
_LARGEST_SIGMA = float(np.float32(1.0 - 1e-6))


class UniPC:
    """Second order, B2(h) = e^h - 1, predicting the clean latent; the first and the last step are of first order.

    Each step first corrects the latent it was given with the model's answer there, then predicts the next one.

    Source: Zhao et al., "UniPC", arXiv 2302.04867, algorithms 1 and 2; as UniPCMultistepScheduler of
    huggingface/diffusers (order 2, bh2, predict_x0, flow prediction) and wan/utils/fm_solvers_unipc.py of
    Wan-Video/Wan2.1.
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        sigma = min(level.sigma, _LARGEST_SIGMA)
        guess = Guess(sigma, latent - sigma * predict(latent, level))
        if record.start_latent is not None:
            latent = _correct(record.start_latent, record.past, guess)
        order = 1 if level.is_last_step or not record.past else 2
        past = (*record.past, guess)[-order:]  # as many as the prediction uses, and its correction after it
        kept = replace(record, past=past, start_latent=latent)
        return StepResult(kept, _predict(latent, past, following.sigma), guess.denoised)


def _predict(latent: Tensor, past: tuple[Guess, ...], sigma: float) -> Tensor:
    """UniP-p with p = len(past): the latent at `sigma` from that at past[-1].sigma."""
    now = past[-1]
    step = half_log_snr(sigma) - half_log_snr(now.sigma)
    target = now.denoised
    for older in past[:-1]:
        target = (
            target
            + (older.denoised - now.denoised) * (step / (half_log_snr(older.sigma) - half_log_snr(now.sigma))) / 2
        )
    return sigma / now.sigma * latent - (1.0 - sigma) * math.expm1(-step) * target


def _correct(latent: Tensor, past: tuple[Guess, ...], guess: Guess) -> Tensor:
    """UniC-p with p = len(past): the latent at guess.sigma again, now with the model's answer there."""
    now = past[-1]
    step = half_log_snr(guess.sigma) - half_log_snr(now.sigma)
    growth = math.expm1(-step)
    change = guess.denoised - now.denoised
    if len(past) == 1:
        target = now.denoised + change / 2
    else:
        ratio = (half_log_snr(past[0].sigma) - half_log_snr(now.sigma)) / step
        old_weight, weight = _corrector_weights(step, ratio)
        target = now.denoised + old_weight * (past[0].denoised - now.denoised) / ratio + weight * change
    return guess.sigma / now.sigma * latent - (1.0 - guess.sigma) * growth * target


def _corrector_weights(step: float, ratio: float) -> tuple[float, float]:
    """Solves [[1, 1], [ratio, 1]] weights = (b1, b2), equation 10 of the paper, for the data prediction model."""
    growth = math.expm1(-step)
    phi_2 = growth / -step - 1
    b1, b2 = phi_2 / growth, (phi_2 / -step - 0.5) * 2 / growth
    old_weight = (b1 - b2) / (1 - ratio)
    return old_weight, b1 - old_weight
