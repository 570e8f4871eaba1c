"""Ancestral sampling of the first diffusion models."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ...noise import NoiseState
from ...step import NoiseLevel, Predict
from ..solver import SolverRecord, StepResult


class DenoisingDiffusion:
    """DDPM, as if sigma were the noise of a variance-exploding model: native computes it so for flow models, too.

    Source: Ho et al., "Denoising Diffusion Probabilistic Models", arXiv 2006.11239, algorithm 2; comfyanonymous/ComfyUI
    comfy/k_diffusion/sampling.py, sample_ddpm (v0.3.64 and v0.33.0).
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
        if following.sigma == 0.0:
            return StepResult(record, denoised, denoised)
        kept, goal_kept = 1 / (level.sigma**2 + 1), 1 / (following.sigma**2 + 1)  # alpha bar of both
        ratio = kept / goal_kept
        scaled = math.sqrt(kept) * latent - (1 - ratio) / math.sqrt(1 - kept) * velocity
        noise, state = record.noise.draw(latent)
        spread = math.sqrt((1 - ratio) * (1 - goal_kept) / (1 - kept))
        moved = (scaled / math.sqrt(ratio) + spread * noise) / math.sqrt(goal_kept)
        return StepResult(replace(record, noise=state), moved, denoised)
