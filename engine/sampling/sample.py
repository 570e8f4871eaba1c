"""One run of a sampler: what can be refused is refused, what has to be known is found out, and then it walks."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ...dit.inputs import Conditioning
from ...sampling.experts import Expert
from ...sampling.given import NOTHING_GIVEN, Given
from ...sampling.prompts import Prompts, as_prompts
from ...sampling.solvers import SOLVERS
from ...sampling.validation import check_seed, find_choice
from ..memory import AUTOMATIC, Job, MemorySettings
from ..models import VideoModel
from ..runtime import Work
from .experts import experts_of, warn_of_settings
from .job import Sides, check_prompts, choose, most_asked, sampling_job, warn_of_places
from .settings import SamplerSettings
from .turn import Choices, SamplingRun
from .walk import Beginning, walk


def run_sampler(
    model: VideoModel,
    positive: Conditioning | Prompts,
    negative: Conditioning | Prompts,
    latent: Tensor,
    settings: SamplerSettings,
    noise: Tensor | None = None,
    given: Given = NOTHING_GIVEN,
    memory: MemorySettings = AUTOMATIC,
) -> Tensor:
    """The sampled latent, normalised: [B, C, T, h, w], float32, CPU.

    Everything that can be refused is refused before the weights are moved.

    Args:
        latent: [B, C, T, h, w], normalised; zeros for a new video.
        noise: [B, C, T, h, w] to start from; drawn from the seed when not given.
        given: what of the latent to keep as it is.
        memory: how much of the device to use; when it runs out all the same, less of the model stays on it.

    Raises:
        OutOfMemory: the video does not fit, even with all blocks swapped.
        NumericalError: the model gives values that are not finite.
    """
    schedule = settings.noise_schedule()
    find_choice(SOLVERS, settings.solver, "solver")
    check_seed(settings.seed)
    steps = schedule.levels[:-1]
    experts, expert_at = experts_of(model, settings.cfg, schedule)
    makers: list[Expert] = [expert_at(level) for level in steps]
    asked = [experts[maker].guidance.asks(level) for level, maker in zip(steps, makers)]
    sides: Sides = {"positive": as_prompts(positive), "negative": as_prompts(negative)}
    check_prompts(sides, steps, asked)
    warn_of_settings(model, settings, experts, makers)
    warn_of_places(model, latent)
    jobs: dict[Expert, Job] = {
        name: sampling_job(
            experts[name].model,
            most_asked(sides, [asks for asks, maker in zip(asked, makers) if maker == name]),
            latent,
            memory,
        )
        for name in experts
        if name in makers
    }

    beginning = Beginning(settings, schedule, latent, noise, given)

    def run() -> Tensor:
        choices: Choices = {name: choose(experts[name].model, job) for name, job in jobs.items()}
        whole = SamplingRun(experts, choices, sides, latent, schedule.steps, memory)
        return walk(model, whole, beginning, expert_at)

    return model.runtime.perform(Work(run, partial(torch.empty, latent.shape, device="meta"), tuple(jobs.values())))
