"""What each model of a run has to do, and how much of it is to be on the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_

from torch import Tensor

from ...common.shapes import LatentShape, VideoShape, video_frames
from ...dit.footprint import pass_shape
from ...dit.inputs import Conditioning
from ...memory.plan import Choice, Task, smallest_bytes
from ...model_loading.footprint import ModelBytes
from ...sampling.experts import Expert
from ..memory import Job, MemorySettings
from ..models import VideoModel
from ..previews.preview import NO_PREVIEW, Preview, RunShape
from ..tasks import latent_shape, smaller_videos
from .asked import Questions, Sides, bytes_in_time, most_asked, second_texts
from .experts import GuidedModel
from .sights import Size, Steps, references_of
from .task import sampling_task, with_work_between


def sampling_job(
    model: VideoModel,
    asked: Sequence[Conditioning],
    latent: Tensor,
    memory: MemorySettings,
    texts: int = 0,
    preview: Preview = NO_PREVIEW,
    steps: Steps | None = None,
    run_passes: int = 0,
) -> Job:
    """What a model has to do.

    Args:
        asked: the prompt of each pass of a step.
        texts: see `second_texts`.
        preview: how the run is shown.
        steps: that it makes; None for all of a run that sees the whole clip or windows that do not change.
        run_passes: see `Job`.
    """
    weights, loras = model.placed.weights, sum(lora.adapter.size_bytes for lora in model.loras)
    steering = reduce(or_, (prompt.steering() for prompt in asked), Counter[type]())  # of each kind, the most
    references = max((prompt.references for prompt in asked), default=0)
    family, config, batch = model.spec.family, model.spec.config, len(latent)
    # A second text is there all the time, as LoRAs are: as it is, embedded, and as keys and values.
    second = texts * batch * config.text_tokens * (4 * config.text_dim + 3 * config.dim * weights.itemsize)
    beside = loras + second + bytes_in_time(asked, config, batch, weights.itemsize) + preview.weight_bytes

    def task(weights: ModelBytes, video: VideoShape) -> Task:
        shape = latent_shape(family, video, references)
        step = sampling_task(
            weights,
            config,
            batch,
            shape,
            passes=len(asked),
            steering=steering,
            run=memory.feed_forward_run,
            steps=steps or Steps(model.policies, references=references),
        )
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
        run_passes=run_passes,
    )


def sampling_jobs(
    experts: Mapping[Expert, GuidedModel],
    steps: Mapping[Expert, Steps],
    makers: Sequence[Expert],
    questions: Sequence[Questions],
    latent: Tensor,
    memory: MemorySettings,
    preview: Preview = NO_PREVIEW,
) -> dict[Expert, Job]:
    """What each model of a run that makes steps has to do.

    Args:
        steps: that each of them makes.
        makers: who makes each step.
        questions: of the run; an edit asks about two clips in each step.
        preview: how the run is shown.
    """
    jobs: dict[Expert, Job] = {}
    size = Size(*latent.shape[2:])
    for name, own in steps.items():
        asks: list[Conditioning] = []
        texts = passes = 0
        for sides, asked in questions:
            of_steps = [each for each, maker in zip(asked, makers) if maker == name]
            asks += most_asked(sides, of_steps)
            texts += second_texts(of_steps)
            passes += sum(len(most_asked(sides, [each])) * count for each, count in zip(of_steps, own.windows(size)))
        jobs[name] = sampling_job(experts[name].model, asks, latent, memory, texts, preview, own, passes)
    return jobs


def shape_of(latent: Tensor, sides: Sides, jobs: Iterable[Job]) -> RunShape:
    """What of a run its preview goes by; of two experts the step that is less work."""
    tasks = [job.task for job in jobs]
    references = references_of(sides)
    flops = min((task.flops * task.passes for task in tasks), default=0.0)
    return RunShape(LatentShape(*latent.shape[1:]), references, flops)


def choose(model: VideoModel, job: Job) -> Choice:
    """How much of the model is to be on the device."""

    def what_fits(limit: int) -> Iterator[str]:
        assert job.video is not None, "sampling makes one"
        multiple = model.spec.family.size_multiple
        return smaller_videos(job.video, multiple, lambda video: smallest_bytes(job.task_of(video)) <= limit)

    return job.memory.choose(job.task, model.residence.device, what_fits, model.runtime)


def pass_tokens(steps: Steps, latent: Tensor) -> int:
    """Tokens of all videos that a pass of a model works on, at most."""
    frames, height, width = steps.largest(Size(*latent.shape[2:]))
    return pass_shape((len(latent), frames, height, width)).tokens


def _video(model: VideoModel, latent: Tensor, references: int) -> VideoShape:
    """The video of a latent that has `references` latent frames before it."""
    _, _, frames, height, width = latent.shape
    stride = model.spec.family.spatial_stride
    return VideoShape(video_frames(frames - references), height * stride, width * stride)
