"""Frames to latents and back, in as many strips as the device has memory for."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..common.empty_tensors import empty
from ..common.errors import InvalidInputError
from ..common.ranks import ALONE, Ranks
from ..common.shapes import VideoShape, latent_frames, video_frames
from ..dit.sharing import Sharing
from ..memory.plan import Task, smallest_bytes
from ..vae3d.convolution import warn_of_slow_conv3d
from ..vae3d.vae import STRIP_CHOICES, TILES, CausalVAE
from .enlarging import Enlarging
from .loaded import PlacedModel
from .memory import AUTOMATIC, Job, JobKind, MemorySettings, check_for_cpu
from .progress import Counted
from .runtime import Work
from .tasks import decoding_task, encoding_task, smaller_videos


def decode(vae: PlacedModel, latent: Tensor, memory: MemorySettings = AUTOMATIC) -> Generator[Tensor, None, None]:
    """The frames of a raw latent [B, C, T, h, w], one by one as they are made: [H, W, 3] in 0..1, float32, CPU.

    The videos of a batch follow one another.

    Raises:
        InvalidInputError: the latent is of another model.
        OutOfMemory: a frame does not fit.
    """
    return _in_turn(_decoded(vae, latent, memory, keeps_frames=False))


def decode_whole(vae: PlacedModel, latent: Tensor, memory: MemorySettings = AUTOMATIC) -> Tensor:
    """As `decode`, all frames at once: [B, F, H, W, 3]."""
    streams = _decoded(vae, latent, memory, keeps_frames=True)
    video = video_of(vae, latent)
    pictures = torch.empty(len(latent) * video.frames, video.height, video.width, 3, dtype=torch.float32)
    for number, frame in enumerate(_in_turn(streams)):
        pictures[number] = frame
    return pictures.unflatten(0, (len(latent), -1))


def encode(
    vae: PlacedModel, clip: Tensor, memory: MemorySettings = AUTOMATIC, enlarging: Enlarging | None = None
) -> Tensor:
    """The raw latent [1, C, T, h, w] of a clip [1, F, H, W, 3] in 0..1, of 1 + 4k frames; float32, CPU.

    Args:
        enlarging: what brings the frames to another size, some at a time, when their turn comes.

    Raises:
        OutOfMemory: a frame does not fit.
    """
    video, config = VideoShape(*clip.shape[1:4]), vae.spec.config
    make_task: Callable[..., Task] = encoding_task
    if enlarging is not None:
        given, video = video, VideoShape(video.frames, enlarging.size.height, enlarging.size.width)
        make_task = partial(encoding_task, given=given, beside=enlarging.working_bytes)
    sides = (side // config.spatial_stride for side in video[1:])
    shape = (1, config.latent_channels, latent_frames(video.frames), *sides)
    job = _job("encode", vae, memory, video, make_task)
    prepare = as_the_network_sees if enlarging is None else lambda frames: as_the_network_sees(enlarging(frames))
    return vae.runtime.perform(Work(partial(_encode, vae, clip, job, prepare), partial(empty, *shape), (job,)))


def as_the_network_sees(frames: Tensor) -> Tensor:
    """Frames in 0..1 as ones in -1..1."""
    return frames * 2 - 1


def check_latent(vae: PlacedModel, latent: Tensor) -> None:
    """Refuses a latent that this VAE has not made.

    Raises:
        InvalidInputError: it has other dimensions or channels.
    """
    channels = vae.spec.config.latent_channels
    if latent.ndim != 5 or latent.shape[1] != channels:
        raise InvalidInputError(
            f"{vae.file} decodes video latents [batch, {channels}, frames, height, width], got {list(latent.shape)}. "
            f"Use a latent made for {vae.spec.family.title}."
        )


def _decoded(
    vae: PlacedModel, latent: Tensor, memory: MemorySettings, *, keeps_frames: bool
) -> list[Generator[Tensor, None, None]]:
    """For each latent of a batch its frames; nothing is decoded before they are asked for."""
    check_latent(vae, latent)
    video = video_of(vae, latent)
    job = decoding_job(vae, latent, memory, keeps_frames=keeps_frames)
    return [
        vae.runtime.perform(Work(partial(_decode, vae, sample, job), partial(empty_frames, video), (job,)))
        for sample in latent.split(1)
    ]


def decoding_job(vae: PlacedModel, latent: Tensor, memory: MemorySettings, *, keeps_frames: bool = False) -> Job:
    """What the decoder has to do for a latent [B, C, T, h, w]; `keeps_frames`: whether all frames stay in RAM."""
    return _job("decode", vae, memory, video_of(vae, latent), partial(decoding_task, keeps_frames=keeps_frames))


def _in_turn(streams: list[Generator[Tensor, None, None]]) -> Generator[Tensor, None, None]:
    for stream in streams:
        with contextlib.closing(stream):
            yield from stream


def video_of(vae: PlacedModel, latent: Tensor) -> VideoShape:
    """The video that a latent [B, C, T, h, w] decodes to."""
    stride = vae.spec.config.decoded_stride
    count, height, width = latent.shape[2:]
    return VideoShape(video_frames(count), height * stride, width * stride)


def _job(
    kind: JobKind,
    vae: PlacedModel,
    memory: MemorySettings,
    video: VideoShape,
    make_task: Callable[..., Task],
) -> Job:
    config = vae.spec.config
    is_on_cpu = memory.vae == "cpu"
    if is_on_cpu:
        check_for_cpu(vae.dtype, vae.file)
    return Job(
        kind, vae.recipe, vae.spec, vae.weights, memory, lambda weights, video: make_task(weights, config, video),
        video, is_on_cpu=is_on_cpu,
    )  # fmt: skip


def empty_frames(video: VideoShape) -> Generator[Tensor, None, None]:
    """The frames of a video that is planned."""
    for _ in range(video.frames):
        yield empty(video.height, video.width, 3, dtype=torch.float32)


def _encode(vae: PlacedModel, clip: Tensor, job: Job, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    runtime, sharing = vae.runtime, vae.runtime.sharing  # no clip is sent to others: that takes as long as it saves
    counted = Counted("Encoding frames", "latent frame", latent_frames(clip.shape[1]))
    latent = []
    with runtime.progress(counted) as progress, at_work(vae, job) as (network, strips), sharing.explained():
        ranks = _who_share(sharing, job, strips or STRIP_CHOICES[-1], clip.shape[2] // vae.spec.config.spatial_stride)
        stream = network.encode_stream(
            clip.movedim(-1, 1),
            strips or STRIP_CHOICES[-1],
            prepare=prepare,
            check=runtime.check_interrupt,
            ranks=ranks,
        )
        for frame in stream:
            latent.append(frame.float().cpu())
            progress.update(len(latent))
    return torch.cat(latent, dim=2)


def _decode(vae: PlacedModel, latent: Tensor, job: Job) -> Generator[Tensor, None, None]:
    """Each frame [H, W, 3] of a latent [1, C, T, h, w]."""
    with contextlib.closing(_decode_stream(vae, latent, job)) as pieces:
        for piece in pieces:
            yield from piece[0]


def _decode_stream(vae: PlacedModel, latent: Tensor, job: Job) -> Generator[Tensor, None, None]:
    """Pictures [1, 1 or 4, H, W, 3] of each latent frame, moved to the CPU as they are made."""
    runtime, counted = vae.runtime, Counted("Decoding", "latent frame", latent.shape[2])
    count = 1 if job.is_on_cpu else job.memory.gpus
    request = partial(ReadyDecoding, vae, latent, job.memory)
    with (
        runtime.progress(counted) as progress,
        at_work(vae, job) as (network, strips),
        runtime.shared(request, count, vae.residence.device) as sharing,
        sharing.explained(),
    ):
        ranks = _who_share(sharing, job, strips, latent.shape[3])
        tile = None if strips else TILES[0]
        stream = network.decode_stream(latent, strips or 1, tile=tile, check=runtime.check_interrupt, ranks=ranks)
        for number, piece in enumerate(stream, start=1):
            progress.update(number)
            yield as_pictures(piece)


class ReadyDecoding(NamedTuple):
    """A latent [1, C, T, h, w] that another process decodes, which wants others to take part."""

    vae: PlacedModel
    latent: Tensor
    memory: MemorySettings

    def join(self) -> None:
        """See `runtime.Shareable`."""
        deque(_decode_stream(self.vae, self.latent, decoding_job(self.vae, self.latent, self.memory)), maxlen=0)


def _who_share(sharing: Sharing, job: Job, strips: int, rows: int) -> Ranks:
    """Who decodes or encodes together, each some rows: all, where each has enough memory for strips, and rows."""
    if sharing.devices == 1 or job.is_on_cpu or rows < sharing.devices:
        return ALONE
    return ALONE if sharing.any_of(not strips) else sharing.ranks


def as_pictures(piece: Tensor) -> Tensor:
    """What the network makes of a latent frame, [1, 3, 1 or 4, H, W], as pictures [1, 1 or 4, H, W, 3], CPU."""
    return ((piece.float() + 1) / 2).clamp(0, 1).movedim(1, -1).cpu()


@contextlib.contextmanager
def at_work(vae: PlacedModel, job: Job) -> Iterator[tuple[CausalVAE, int]]:
    """The network where it is to compute, and the fewest strips that fit there; 0 when not even the thinnest do."""
    residence, memory, runtime = vae.residence, job.memory, vae.runtime
    if job.is_on_cpu:
        residence.unload()
        yield residence.module, memory.strips or 1
        return
    if residence.device.type == "cuda":
        warn_of_slow_conv3d()

    def what_fits(limit: int) -> Iterator[str]:
        assert job.video is not None, "a VAE looks at one"
        config = vae.spec.config
        one_frame = job.video._replace(frames=1)
        stride = config.decoded_stride if job.kind == "decode" else config.spatial_stride
        return smaller_videos(one_frame, stride, lambda video: smallest_bytes(job.task_of(video)) <= limit)

    choice = memory.choose(job.task, residence.device, what_fits, runtime)
    with residence.loaded(choice.way.working_bytes) as network:
        limit = memory.limit(residence.device, runtime)
        yield network, memory.strips or (choice.way.number if limit is None or choice.device_bytes <= limit else 0)
