"""DPM-Solver-2 with the middle of a step in log sigma, plain and with fresh noise."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ....common.records import record
from ...noise import NoiseState
from ...step import NoiseLevel, Predict
from ..solver import SolverRecord, StepResult
from .ancestral import descent


@record
class MiddleStep:
    """The velocity of the geometric middle of a step's sigmas, for the whole of it; the last step is Euler's.

    Native's sampler node leaves out the last sigma above 0, see `solvers.WITHOUT_PENULTIMATE`.

    Attributes:
        ancestral: whether steps go below their goal and are noised up to it, as `AncestralEuler`'s.

    Source: Karras et al., arXiv 2206.00364, algorithm 2, with the middle of Lu et al., "DPM-Solver", arXiv 2206.00927,
    section 3.2; comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_dpm_2 and sample_dpm_2_ancestral_RF
    (v0.3.64 and v0.33.0).
    """

    ancestral: bool = False

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
        down = descent(level, following)
        goal = down.sigma if self.ancestral else following.sigma
        middle = level.moved(math.sqrt(level.sigma * goal))
        velocity = predict(latent + (middle.sigma - level.sigma) * velocity, middle)
        moved = latent + (goal - level.sigma) * velocity
        if not self.ancestral:
            return StepResult(record, moved, denoised)
        noise, state = record.noise.draw(latent)
        return StepResult(replace(record, noise=state), down.kept * moved + down.noise * noise, denoised)
