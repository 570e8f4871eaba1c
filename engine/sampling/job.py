"""What each model of a run has to do, and how much of it is to be on the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_

from torch import Tensor

from ...common.shapes import VideoShape, video_frames
from ...dit.footprint import pass_shape
from ...dit.inputs import Conditioning
from ...memory.plan import Choice, Task, smallest_bytes
from ...model_loading.footprint import ModelBytes
from ...parallel.step import SharedStep, shared_step
from ...weights.casting import CASTINGS
from ..memory import Job, MemorySettings, RunWork
from ..models import VideoModel
from ..poses.counting import pose_videos
from ..previews.preview import NO_PREVIEW, Preview
from ..tasks import latent_shape, smaller_videos
from .asked import bytes_in_time
from .sights import Size, Steps, clips_of
from .task import sampling_task, with_plain_matrices, with_work_between


def sampling_job(
    model: VideoModel,
    asked: Sequence[Conditioning],
    latent: Tensor,
    memory: MemorySettings,
    texts: int = 0,
    preview: Preview = NO_PREVIEW,
    steps: Steps | None = None,
    count_work: Callable[[VideoShape], RunWork] | None = None,
) -> Job:
    """What a model has to do.

    Args:
        asked: the prompt of each pass of a step.
        texts: see `second_texts`.
        preview: how the run is shown.
        steps: that it makes; None for all of a run that sees the whole clip or windows that do not change.
        count_work: see `Job`.
    """
    weights, loras = model.placed.weights, sum(lora.adapter.size_bytes for lora in model.loras)
    steering = reduce(or_, (prompt.steering() for prompt in asked), Counter[type]())  # of each kind, the most
    references = max((prompt.references for prompt in asked), default=0)
    family, config, batch = model.spec.family, model.spec.config, len(latent)
    # A second text is there all the time, as LoRAs are: as it is, embedded, and as keys and values.
    second = texts * batch * config.text_tokens * (4 * config.text_dim + 3 * config.dim * weights.itemsize)
    casting = CASTINGS.get(model.recipe.precision)
    multiplies = casting is not None and casting.multiplies  # then stored matrices are used as they are
    beside = loras + second + bytes_in_time(asked, config, batch, weights.itemsize) + preview.weight_bytes

    own = steps or Steps(model.policies, references=references, clips=clips_of(asked), poses=pose_videos(asked))
    own = replace(own, devices=memory.devices(model.runtime.sharing))

    def task(weights: ModelBytes, video: VideoShape) -> Task:
        shape = latent_shape(family, video, references)
        step = sampling_task(
            weights, config, batch, shape, passes=len(asked), steering=steering, run=memory.feed_forward_run, steps=own
        )
        step = step if multiplies else with_plain_matrices(step, weights, config)
        return with_work_between(step, shape, batch, preview.working_bytes(shape))

    return Job(
        "sample",
        model.placed.recipe,
        model.spec,
        weights._replace(fixed=weights.fixed + beside),
        memory,
        task,
        _video(model, latent, references),
        len(asked),
        loras=model.recipe.loras,
        count_work=count_work,
        shared=_shared(model, own, latent, len(asked)),
    )


def _shared(model: VideoModel, own: Steps, latent: Tensor, passes: int) -> SharedStep | None:
    """How several devices share a step of so many passes; None for one."""
    if own.devices == 1:
        return None
    itemsize, length = model.placed.weights.token_itemsize, pass_tokens(own, latent) // len(latent)
    shared = shared_step(model.spec.config, length, max(passes, 1), own.devices, itemsize)
    return shared._replace(sent_bytes=shared.sent_bytes * len(own.busiest(Size(*latent.shape[2:]))))


def choose(model: VideoModel, job: Job) -> Choice:
    """How much of the model is to be on the device."""

    def what_fits(limit: int) -> Iterator[str]:
        assert job.video is not None, "sampling makes one"
        multiple = model.spec.family.size_multiple
        return smaller_videos(job.video, multiple, lambda video: smallest_bytes(job.task_of(video)) <= limit)

    return job.memory.choose(job.task, model.residence.device, what_fits, model.runtime)


def pass_tokens(steps: Steps, latent: Tensor) -> int:
    """Tokens of all videos that a pass of a model works on, at most."""
    size = Size(*latent.shape[2:])
    seen = steps.largest(size)
    frames, height, width = seen
    return pass_shape((len(latent), frames, height, width), beside=steps.beside(seen, size)).tokens


def _video(model: VideoModel, latent: Tensor, references: int) -> VideoShape:
    """The video of a latent that has `references` latent frames before it."""
    _, _, frames, height, width = latent.shape
    stride = model.spec.family.spatial_stride
    return VideoShape(video_frames(frames - references), height * stride, width * stride)
