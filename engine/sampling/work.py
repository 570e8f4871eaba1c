"""What each model of a run has to do in all its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import prod

from torch import Tensor

from ...common.records import record
from ...common.shapes import LatentShape, VideoShape
from ...dit.inputs import Conditioning
from ...memory.plan import Choice
from ...sampling.experts import Expert
from ...sampling.step import NoiseLevel
from ...sampling.windows import ClipShape
from ..memory import Job, MemorySettings, RunWork
from ..previews.preview import NO_PREVIEW, Preview, RunShape
from ..tasks import latent_shape
from .asked import Questions, Sides, most_asked, second_texts
from .experts import GuidedModel
from .job import choose, sampling_job
from .sights import Size, Steps, references_of


@record(eq=False)
class OwnSteps:
    """The steps that one model of a run makes.

    Attributes:
        numbers: of these steps in the run.
        levels: where each step of the run asks the model: once or more, as the solver wants it.
        questions: of the run; an edit asks about two clips in each step.
        references: latent frames of pictures before the video.
        different: how many different questions they put, see `Steps.questions`.
    """

    numbers: tuple[int, ...]
    levels: Sequence[Sequence[NoiseLevel]]
    questions: Sequence[Questions]
    references: int
    different: int

    def work(self, expert: GuidedModel, video: VideoShape) -> RunWork:
        """What they come to for a video of this size."""
        family = expert.model.spec.family
        _, frames, height, width = latent_shape(family, video, self.references)
        order = expert.model.policies.order
        size = Size(order.frames_at_once(frames), height, width)
        clip, passes, most, seen = ClipShape(*size, self.references), 0, 1, size
        for number in self.numbers:
            for place, level in enumerate(self.levels[number]):
                cuts = expert.model.policies.windows.cuts(clip, level)
                for sides, asked in self.questions:
                    asks = expert.guidance.asks(level) if place else asked[number]
                    passes += len(most_asked(sides, [asks])) * len(cuts)
                if len(cuts) > most:
                    most, seen = len(cuts), max((Size(*cut.size(height, width)) for cut in cuts), key=prod)
        looks = order.rounds(frames) - 1  # a causal model looks at each chunk but the last when it is finished
        passes = passes * order.rounds(frames) + looks * self.different
        return RunWork(passes, most, seen.video(family, self.references))


def sampling_jobs(
    experts: Mapping[Expert, GuidedModel],
    steps: Mapping[Expert, Steps],
    makers: Sequence[Expert],
    questions: Sequence[Questions],
    levels: Sequence[Sequence[NoiseLevel]],
    latent: Tensor,
    memory: MemorySettings,
    preview: Preview = NO_PREVIEW,
) -> dict[Expert, Job]:
    """What each model of a run that makes steps has to do.

    Args:
        steps: that each of them makes.
        makers: who makes each step.
        questions: of the run.
        levels: where each step asks the model.
        preview: how the run is shown.
    """
    jobs: dict[Expert, Job] = {}
    for name, own in steps.items():
        numbers = tuple(number for number, maker in enumerate(makers) if maker == name)
        asks: list[Conditioning] = []
        texts = 0
        for sides, asked in questions:
            of_steps = [asked[number] for number in numbers]
            asks += most_asked(sides, of_steps)
            texts += second_texts(of_steps)
        work = partial(OwnSteps(numbers, levels, questions, own.references, own.questions).work, experts[name])
        jobs[name] = sampling_job(experts[name].model, asks, latent, memory, texts, preview, own, work)
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
