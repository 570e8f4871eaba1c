"""The sampling loop: a generator that walks a noise schedule and yields after every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..common.shapes import LatentShape
from .denoiser import Denoising
from .noise import add_noise, remove_signal_weight, seeded_noise, step_noise
from .schedule import NoiseSchedule
from .solvers import Solver
from .validation import check_latent, check_step_result


@dataclass(frozen=True, slots=True, eq=False)
class SampleResult:
    """The state of a run after a step.

    Attributes:
        step: steps done, 1..`steps`; 0 for a run of no steps.
        steps: steps of the whole run.
        sigma: noise level of `latent`; 0 at the end.
        latent: [B, C, T, h, w], float32, normalised: the result so far; that of the last step is the run's result.
        denoised: the model's guess of the clean latent at this step, for previews; same shape.
    """

    step: int
    steps: int
    sigma: float
    latent: Tensor
    denoised: Tensor


def sample(
    denoiser: Denoising,
    solver: Solver,
    schedule: NoiseSchedule,
    latent: Tensor,
    *,
    seed: int,
    noise: Tensor | None = None,
) -> Iterator[SampleResult]:
    """Noises `latent` to the start of the schedule and walks it down, one result per step.

    Args:
        denoiser: the model with its prompts.
        solver: an entry of `solvers.SOLVERS`.
        schedule: see `schedule.make_schedule` and `schedule.from_sigmas`. Without steps, one result with the
            untouched latent is yielded.
        latent: [B, C, T, h, w], normalised; zeros for text to video, an encoded clip for video to video.
        seed: 0 .. 2^64 - 1; same seed, same result.
        noise: [B, C, T, h, w] to start from; drawn from the seed when not given.

    Raises:
        InvalidInputError: a latent or seed that cannot be sampled from.
        NumericalError: a step gave NaN or infinity.
    """
    check_latent(latent)
    if schedule.steps == 0:
        yield SampleResult(0, 0, float(schedule.sigmas[-1]), latent, latent)
        return
    levels = schedule.levels
    noise = seeded_noise(seed, LatentShape(*latent.shape[1:]), len(latent)) if noise is None else noise
    noise = noise.to(latent.device)
    given = denoiser.given
    state = given.impose(add_noise(latent.float(), noise, schedule.noise_weight))
    predict = denoiser.start()
    run = solver.start(step_noise(seed))
    for level, following in pairwise(levels):
        with torch.no_grad():
            state, denoised = (given.impose(part) for part in run.advance(predict, state, level, following))
        check_step_result(state, following.index, schedule.steps, level.sigma)
        is_end = following.index == schedule.steps
        result = given.finish(remove_signal_weight(state, following.sigma), following.sigma) if is_end else state
        yield SampleResult(following.index, schedule.steps, following.sigma, result, denoised)
