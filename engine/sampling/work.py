"""What each model of a run has to do in all its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from ...common.shapes import LatentShape, VideoShape, video_frames
from ...memory.plan import Choice
from ...sampling.ask import Ask
from ...sampling.experts import Expert
from ...sampling.loop import levels_asked
from ...sampling.step import NoiseLevel
from ...sampling.windows import ClipShape
from ..memory import Job, MemorySettings, RunWork
from ..previews.preview import NO_PREVIEW, Preview, RunShape
from ..tasks import latent_shape
from .asked import Sides, most_asked, second_texts
from .beginning import Beginning
from .experts import GuidedModel
from .job import choose, sampling_job
from .sights import Steps, references_of


@dataclass(frozen=True, slots=True, eq=False)
class OwnSteps:
    """The steps that one model of a run makes.

    Attributes:
        beginning: of the run.
        makers: who makes each of its steps.
        name: who this model is.
        references: latent frames of pictures before the video.
    """

    beginning: Beginning
    makers: tuple[Expert, ...]
    name: Expert
    references: int

    def asked(self) -> list[NoiseLevel]:
        """Where they ask the model: once or more each, as the solver wants it."""
        steps = levels_asked(self.beginning.solver, self.beginning.schedule)
        return [level for levels, maker in zip(steps, self.makers) if maker == self.name for level in levels]

    def work(self, expert: GuidedModel, sides: Sides, video: VideoShape) -> RunWork:
        """What they come to for a video of this size."""
        _, frames, height, width = latent_shape(expert.model.spec.family, video, self.references)
        clip, passes, most, longest = ClipShape(frames, height, width, self.references), 0, 1, frames
        for level in self.asked():
            cuts = expert.model.policies.windows.cuts(clip, level)
            passes += len(most_asked(sides, [expert.guidance.asks(level)])) * len(cuts)
            if len(cuts) > most:
                most, longest = len(cuts), max(cut.length for cut in cuts)
        return RunWork(passes, most, video_frames(longest - self.references))


def sampling_jobs(
    experts: Mapping[Expert, GuidedModel],
    steps: Mapping[Expert, Steps],
    makers: Sequence[Expert],
    asked: Sequence[Sequence[Ask]],
    sides: Sides,
    beginning: Beginning,
    memory: MemorySettings,
    preview: Preview = NO_PREVIEW,
) -> dict[Expert, Job]:
    """What each model of a run that makes steps has to do.

    Args:
        steps: that each of them makes.
        makers: who makes each step.
        asked: the questions of each.
        beginning: of the run.
        preview: how the run is shown.
    """
    jobs: dict[Expert, Job] = {}
    for name, own in steps.items():
        questions = [asks for asks, maker in zip(asked, makers) if maker == name]
        asks, texts = most_asked(sides, questions), second_texts(questions)
        expert, made = experts[name], OwnSteps(beginning, tuple(makers), name, own.references)
        work = partial(made.work, expert, sides)
        jobs[name] = sampling_job(expert.model, asks, beginning.latent, memory, texts, preview, own, work)
    return jobs


def shape_of(latent: Tensor, sides: Sides, jobs: Iterable[Job]) -> RunShape:
    """What of a run its preview goes by; of two experts the step that is less work."""
    tasks = [job.task for job in jobs]
    references = references_of(sides)
    flops = min((task.flops * task.passes for task in tasks), default=0.0)
    return RunShape(LatentShape(*latent.shape[1:]), references, flops)


def choices_of(experts: Mapping[Expert, GuidedModel], jobs: Mapping[Expert, Job]) -> dict[Expert, Choice]:
    """How much of each model is to be on the device."""
    return {name: choose(experts[name].model, job) for name, job in jobs.items()}
