"""Multistep consistency sampling, for models distilled to few steps."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..noise import NoiseState, add_noise
from ..step import NoiseLevel, Predict, predict_denoised
from .solver import SolverRecord, StepResult


class LatentConsistency:
    """Jumps to the clean latent and noises it afresh to the next sigma.

    Source: Luo et al., "Latent Consistency Models", arXiv 2310.04378, algorithm 3 (multistep sampling); for flow
    matching as FlowMatchLCMScheduler of huggingface/diffusers.
    """

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        denoised = predict_denoised(predict, latent, level)
        noise, state = record.noise.draw(latent)
        return StepResult(replace(record, noise=state), add_noise(denoised, noise, following.sigma), denoised)
