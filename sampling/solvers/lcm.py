"""Multistep consistency sampling, for models distilled to few steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..noise import NoiseSource, add_noise
from ..step import NoiseLevel, Predict, predict_denoised


@dataclass(slots=True)
class LatentConsistency:
    """Jumps to the clean latent and noises it afresh to the next sigma.

    Source: Luo et al., "Latent Consistency Models", arXiv 2310.04378, algorithm 3 (multistep sampling); for flow
    matching as FlowMatchLCMScheduler of huggingface/diffusers.
    """

    noise: NoiseSource

    @classmethod
    def start(cls, noise: NoiseSource) -> LatentConsistency:
        """A run that draws from `noise`."""
        return cls(noise)

    def advance(
        self, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> tuple[Tensor, Tensor]:
        """One step; see `SolverRun.advance`."""
        denoised = predict_denoised(predict, latent, level)
        return add_noise(denoised, self.noise(latent), following.sigma), denoised
