"""What each model of a run has to do, and how much of it is to be on the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_

from torch import Tensor

from ...common.log import logger
from ...common.shapes import LatentShape, VideoShape, latent_frames, video_frames
from ...dit.footprint import pass_shape
from ...dit.inputs import Conditioning
from ...memory.plan import Choice, Task, smallest_bytes
from ...model_loading.footprint import ModelBytes
from ...sampling.ask import Ask, Side
from ...sampling.prompts import Prompts
from ...sampling.step import NoiseLevel
from ...sampling.windows import longest_window
from ..memory import Job, MemorySettings
from ..models import VideoModel
from ..previews.preview import NO_PREVIEW, Preview, RunShape
from ..tasks import latent_shape, smaller_videos
from .task import sampling_task, with_work_between

Sides = dict[Side, Prompts]
"""The prompts of a run."""


def check_prompts(sides: Sides, steps: Sequence[NoiseLevel], asked: Sequence[Sequence[Ask]]) -> None:
    """Refuses prompts that leave a step without what it asks for.

    Args:
        steps: where the steps of the run begin.
        asked: the questions of each.

    Raises:
        InvalidInputError: they do.
    """
    for side, prompts in sides.items():
        prompts.check(side, [level for level, asks in zip(steps, asked) if any(ask.side == side for ask in asks)])
        for level, asks in zip(steps, asked):
            if any(side in ask.reads for ask in asks):
                prompts.text(level.sigma)


def warn_of_places(model: VideoModel, latent: Tensor) -> None:
    """Tells of a video whose last frames lie later in time than any that the model was trained on."""
    scale, shift = model.policies.places.scale[0], model.policies.places.shift[0]
    if (scale, shift) == (1.0, 0.0):
        return
    frames = longest_window(model.policies.windows, latent.shape[2])
    last, trained = shift + scale * (frames - 1), latent_frames(model.spec.family.trained_frames) - 1
    if last > trained:
        logger.warning(
            "With this motion the video ends at the time of latent frame %.1f, and the model was trained up to %d: "
            "motion may repeat or fall apart. Make a shorter video, or less motion.", last, trained,
        )  # fmt: skip


def most_asked(sides: Sides, steps: Iterable[Sequence[Ask]]) -> list[Conditioning]:
    """The prompts of the step with the most passes, by the questions of each step."""
    asked = ([part.conditioning for ask in asks for part in sides[ask.side].parts] for asks in steps)
    return max(asked, key=len, default=[])


def sampling_job(
    model: VideoModel,
    asked: Sequence[Conditioning],
    latent: Tensor,
    memory: MemorySettings,
    preview: Preview = NO_PREVIEW,
) -> Job:
    """What a model has to do; `asked`: the prompt of each pass of a step; `preview`: how the run is shown."""
    weights, loras = model.placed.weights, sum(lora.adapter.size_bytes for lora in model.loras)
    beside = loras + preview.weight_bytes
    steering = reduce(or_, (prompt.steering() for prompt in asked), Counter[type]())  # of each kind, the most
    references = max((prompt.references for prompt in asked), default=0)
    family, config, batch = model.spec.family, model.spec.config, len(latent)

    def task(weights: ModelBytes, video: VideoShape) -> Task:
        shape = latent_shape(family, video, references)
        steps = sampling_task(
            weights,
            config,
            batch,
            shape,
            passes=len(asked),
            steering=steering,
            run=memory.feed_forward_run,
            policies=model.policies,
        )
        return with_work_between(steps, shape, batch, preview.working_bytes(shape))

    return Job(
        "sample",
        model.placed.recipe,
        model.spec,
        weights._replace(fixed=weights.fixed + beside),
        memory,
        task,
        _video(model, latent, references),
        len(asked),
    )


def shape_of(latent: Tensor, sides: Sides, jobs: Iterable[Job]) -> RunShape:
    """What of a run its preview goes by; of two experts the step that is less work."""
    tasks = [job.task for job in jobs]
    references = max((part.conditioning.references for side in sides.values() for part in side.parts), default=0)
    flops = min((task.flops * task.passes for task in tasks), default=0.0)
    return RunShape(LatentShape(*latent.shape[1:]), references, flops)


def choose(model: VideoModel, job: Job) -> Choice:
    """How much of the model is to be on the device."""

    def what_fits(limit: int) -> Iterator[str]:
        assert job.video is not None, "sampling makes one"
        multiple = model.spec.family.size_multiple
        return smaller_videos(job.video, multiple, lambda video: smallest_bytes(job.task_of(video)) <= limit)

    return job.memory.choose(job.task, model.residence.device, what_fits, model.runtime)


def pass_tokens(model: VideoModel, latent: Tensor) -> int:
    """Tokens of all videos that a pass of a model works on."""
    batch, _, frames, height, width = latent.shape
    return pass_shape((batch, longest_window(model.policies.windows, frames), height, width)).tokens


def _video(model: VideoModel, latent: Tensor, references: int) -> VideoShape:
    """The video of a latent that has `references` latent frames before it."""
    _, _, frames, height, width = latent.shape
    stride = model.spec.family.spatial_stride
    return VideoShape(video_frames(frames - references), height * stride, width * stride)
