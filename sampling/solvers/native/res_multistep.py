"""An exponential multistep solver of second order."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ....common.records import record
from ...noise import NoiseState
from ...step import NoiseLevel, Predict, predict_denoised
from ..solver import Guess, SolverRecord, StepResult


@record
class ExponentialMultistep:
    """RES 2M in log(1 / sigma), the time of variance-exploding models, as native nodes use it for flow models, too.

    Attributes:
        ancestral: whether steps go below their goal and are noised up to it, in that time, too.

    Source: Zhang et al., "The Refined Exponential Solver", arXiv 2308.02157; comfyanonymous/ComfyUI
    comfy/k_diffusion/sampling.py, res_multistep (v0.3.64 and v0.33.0). The first step and the last one are Euler's.
    """

    ancestral: bool = False

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`. Of the past, the sigma is the one that the last step went down to."""
        denoised = predict_denoised(predict, latent, level)
        up = _noised_up(level.sigma, following.sigma) if self.ancestral else 0.0
        down = math.sqrt(following.sigma**2 - up**2)
        if down == 0.0 or not record.past or record.past[0].sigma == 0.0:
            moved = latent + (down - level.sigma) / level.sigma * (latent - denoised)
        else:
            moved = _second_order(record.past, latent, Guess(level.sigma, denoised), down)
        past = (Guess(down, denoised), Guess(level.sigma, denoised))
        if not up:
            return StepResult(replace(record, past=past), moved, denoised)
        noise, state = record.noise.draw(latent)
        return StepResult(replace(record, noise=state, past=past), moved + up * noise, denoised)


def _noised_up(sigma: float, goal: float) -> float:
    """The noise that an ancestral step of a variance-exploding model adds.

    Source: Karras et al., arXiv 2206.00364, as crowsonkb/k-diffusion's get_ancestral_step with eta 1.
    """
    return min(goal, math.sqrt(goal**2 * (sigma**2 - goal**2) / sigma**2))


def _second_order(past: tuple[Guess, ...], latent: Tensor, guess: Guess, down: float) -> Tensor:
    """From the sigma of the guess to `down`; `past`: where the last step went down to, and where it began."""
    went, began = past
    length = math.log(guess.sigma / down)
    ratio = math.log(went.sigma / began.sigma) / length  # of the last step to this one, negative
    first = -math.expm1(-length) / length
    second = (1.0 - first) / length
    own, old = (first - second / ratio, second / ratio) if ratio else (0.0, 0.0)
    return math.exp(-length) * latent + length * (own * guess.denoised + old * went.denoised)
