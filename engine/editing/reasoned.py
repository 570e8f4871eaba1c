"""An edit of a picture whose first steps see all frames on the way from one picture to the other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor

from ...sampling.experts import Expert
from ...sampling.loop import levels_asked
from ..memory import Job, MemorySettings
from ..models import VideoModel
from ..previews.wished import wished_preview
from ..sampling.asked import Questions, Sides, check_prompts
from ..sampling.experts import experts_of, makers_of
from ..sampling.run import ReadyRun
from ..sampling.settings import SamplerSettings
from ..sampling.sights import steps_of
from ..sampling.told import warn_of_run
from ..sampling.turn import SamplingRun
from ..sampling.work import sampling_jobs
from .ends import ends_of
from .reasoning import ReasonedPreview, begin_reasoned, seen_whole


class ReasonedRun(NamedTuple):
    """The run, and what its models have to do, first with the whole clip and then with its ends."""

    ready: ReadyRun
    jobs: tuple[Job, ...]

    def join(self) -> None:
        """See `ReadyRun.join`."""
        self.ready.join()


def run_reasoned(
    model: VideoModel,
    ends: Sides,
    whole: Sides,
    latent: Tensor,
    settings: SamplerSettings,
    whole_steps: int,
    memory: MemorySettings,
) -> Tensor:
    """The first and the last latent frame: [B, C, 2, h, w], normalised, float32, CPU.

    Args:
        model: that sees the two where they lie in the whole clip.
        ends, whole: the prompts with the picture for the two alone, and for the whole clip, which lies as trained.
        latent: [B, C, T, h, w] of the whole clip.
        whole_steps: how many of the first steps see it; at least one.

    Raises: as `run_sampler_with_guess`.
    """
    run = _ready_reasoned(model, ends, whole, latent, settings, whole_steps, memory)
    return ends_of(model.runtime.perform(replace(run.ready.work, jobs=run.jobs)).latent)


def _ready_reasoned(
    model: VideoModel,
    ends: Sides,
    whole: Sides,
    latent: Tensor,
    settings: SamplerSettings,
    whole_steps: int,
    memory: MemorySettings,
) -> ReasonedRun:
    """As `run_reasoned`, before it runs."""
    model.runtime.check_gpus(memory.gpus, model.residence.device)
    schedule = settings.noise_schedule()
    steps = schedule.levels[:-1]
    experts, expert_at = experts_of(model, settings.cfg, schedule)
    makers = makers_of(steps, expert_at)
    asked = [experts[maker].guidance.asks(level) for level, maker in zip(steps, makers)]
    for sides in (ends, whole):
        check_prompts(sides, steps, asked)
    warn_of_run(settings, ends, experts, makers, steps, asked)
    preview = ReasonedPreview(wished_preview(model.runtime, model.spec.family))
    levels = levels_asked(settings.find_solver(), schedule)

    def jobs(sides: Sides, video: Tensor, part: slice) -> dict[Expert, Job]:
        made = steps_of(experts, makers[part], steps[part], sides)
        questions = [Questions(sides, asked[part])]
        return sampling_jobs(experts, made, makers[part], questions, levels[part], video, memory, preview)

    of_whole = jobs(whole, latent, slice(whole_steps))
    of_ends = jobs(ends, ends_of(latent), slice(whole_steps, None))
    made = steps_of(experts, makers, steps, ends)
    run = SamplingRun(experts, made, {}, ends, latent, schedule.steps, memory, (seen_whole(experts, whole),))
    beginning = begin_reasoned(settings, schedule, latent, whole_steps)
    request = partial(_ready_reasoned, model, ends, whole, latent, settings, whole_steps, memory)
    ready = ReadyRun(model, run, beginning, expert_at, {**of_ends, **of_whole}, preview, request)
    return ReasonedRun(ready, (*of_whole.values(), *of_ends.values()))
