"""A video that is decoded while it is made: frames come as soon as the latent frames that they need are finished."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from ...common.errors import InvalidInputError
from ...memory.plan import Task
from ...sampling.state import SamplerState
from ..loaded import PlacedModel
from ..memory import Job, MemorySettings
from ..runtime import Work
from ..sampling.run import ReadyRun
from ..vae import as_pictures, at_work, check_latent, decoding_job, empty_frames, video_of
from .beginning import ChunkBeginning

_LEAST_DECODING = 10**9
"""Bytes that the decoder may take beside the model whatever a step takes."""


@dataclass(eq=False)
class StreamedVideo:
    """A run and the decoder of its video, which take turns; both are on the device meanwhile.

    Args:
        run: ready, of one video.
        vae: that belongs to the model.
        memory: how much of the device to use.

    Attributes:
        latent: [1, C, T, h, w], raw, float32, CPU: the video so far; what is not finished is 0.
        done: how many of its frames are finished.

    Raises:
        InvalidInputError: a batch of several videos, or a latent of another VAE.
    """

    run: ReadyRun
    vae: PlacedModel
    memory: MemorySettings
    latent: Tensor = field(init=False)
    done: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        begun = self.run.whole.latent
        if len(begun) > 1:
            raise InvalidInputError(
                f"A video goes into its file while it is made, one at a time, and the latent has {len(begun)}. Set "
                "batch_size to 1, or sample all and decode them afterwards."
            )
        check_latent(self.vae, begun)
        self.latent = torch.zeros_like(begun, device="cpu", dtype=torch.float32)

    def frames(self) -> Generator[Tensor, None, None]:
        """The frames one by one as they are made: [H, W, 3] in 0..1, float32, CPU.

        Raises:
            OutOfMemory: the video does not fit, even with all blocks swapped.
            NumericalError: the model gives values that are not finite.
        """
        decoding = self._decoding()
        jobs = {name: _beside(job, decoding) for name, job in self.run.jobs.items()}
        run, video = self.run._replace(jobs=jobs), video_of(self.vae, self.latent)
        work = Work(partial(self._made, run, decoding), partial(empty_frames, video), (*jobs.values(), decoding))
        return self.vae.runtime.perform(work)

    def _decoding(self) -> Job:
        """In the fewest strips that take no more than a step of the run, or the thinnest."""
        job = decoding_job(self.vae, self.latent, self.memory)
        if self.memory.strips or job.is_on_cpu:
            return job
        steps = (min(way.working_bytes for way in each.task.ways) for each in self.run.jobs.values())
        most = max(_LEAST_DECODING, *steps)
        ways = job.task.ways
        way = next((way for way in ways if way.working_bytes <= most), ways[-1])
        return replace(job, memory=replace(job.memory, strips=way.number), make_task=partial(_one_way, job, way.number))

    def _made(self, run: ReadyRun, decoding: Job) -> Generator[Tensor, None, None]:
        check = self.vae.runtime.check_interrupt
        with contextlib.closing(_closable(run.states())) as states, at_work(self.vae, decoding) as (network, strips):
            await_frames = partial(self._await, run, states)
            stream = network.decode_stream(self.latent, strips or 1, check=check, await_frames=await_frames)
            for piece in stream:
                yield from as_pictures(piece)[0]

    def _await(self, run: ReadyRun, states: Iterator[SamplerState], frames: int) -> None:
        """Makes the video until so many latent frames are finished."""
        while self.done < frames:
            state = next(states)
            done = _finished(run, state)
            if done > self.done:
                made = state.latent[:, :, self.done : done].cpu()
                self.latent[:, :, self.done : done] = run.model.spec.family.denormalize(made)
                self.done = done
        if self.done == self.latent.shape[2]:
            for _state in states:  # nothing follows: the models are let go of
                pass


def _closable(states: Iterator[SamplerState]) -> Generator[SamplerState, None, None]:
    yield from states


def _finished(run: ReadyRun, state: SamplerState) -> int:
    """How many latent frames of a state stay as they are."""
    if state.step == state.steps:
        return state.latent.shape[2]
    beginning = run.beginning
    return beginning.finished(state.step) if isinstance(beginning, ChunkBeginning) else 0


def _beside(job: Job, decoding: Job) -> Job:
    """What a model has to do with the decoder beside it on the device."""
    if decoding.is_on_cpu:
        return job
    taken = decoding.task.fixed_bytes + min(way.working_bytes for way in decoding.task.ways)
    return replace(job, weights=job.weights._replace(fixed=job.weights.fixed + taken))


def _one_way(job: Job, strips: int, *asked: object) -> Task:
    """The decoder's task in so many strips alone."""
    task = job.make_task(*asked)  # type: ignore[arg-type]
    return replace(task, ways=tuple(way for way in task.ways if way.number == strips))
