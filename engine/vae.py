"""Frames to latents and back, in as many strips as the device has memory for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator

import torch
from torch import Tensor

from ..common.errors import InvalidInputError
from ..common.shapes import VideoShape, latent_frames, video_frames
from ..memory.plan import Task, smallest_bytes
from ..vae3d.cudnn import warn_of_slow_conv3d
from ..vae3d.vae import STRIP_CHOICES, TILES, CausalVAE
from .memory import AUTOMATIC, MemorySettings, check_for_cpu
from .models import PlacedModel
from .tasks import bytes_of, decoding_task, encoding_task, smaller_videos


def decode(vae: PlacedModel, latent: Tensor, memory: MemorySettings = AUTOMATIC) -> Iterator[Tensor]:
    """The frames of a raw latent [B, C, T, h, w], one by one as they are made: [H, W, 3] in 0..1, float32, CPU.

    The videos of a batch follow one another.

    Raises:
        InvalidInputError: the latent is of another model.
        OutOfMemory: a frame does not fit.
    """
    check_latent(vae, latent)
    for sample in latent.split(1):
        with contextlib.closing(_decode_stream(vae, sample, memory)) as pieces:
            for piece in pieces:
                yield from piece[0]


def encode(vae: PlacedModel, clip: Tensor, memory: MemorySettings = AUTOMATIC) -> Tensor:
    """The raw latent [1, C, T, h, w] of a clip [1, F, H, W, 3] in 0..1, of 1 + 4k frames; float32, CPU.

    Raises:
        OutOfMemory: a frame does not fit.
    """
    video, runtime = VideoShape(*clip.shape[1:4]), vae.runtime
    progress = runtime.progress(latent_frames(video.frames), "encoding")
    latent = []
    with _at_work(vae, encoding_task, video, memory) as (network, strips):
        stream = network.encode_stream(
            clip.movedim(-1, 1),
            strips or STRIP_CHOICES[-1],
            prepare=lambda frames: frames * 2 - 1,
            check=runtime.check_interrupt,
        )
        for frame in stream:
            latent.append(frame.float().cpu())
            progress.update(len(latent))
    return torch.cat(latent, dim=2)


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


def _decode_stream(vae: PlacedModel, latent: Tensor, memory: MemorySettings) -> Generator[Tensor, None, None]:
    """Pictures [1, 1 or 4, H, W, 3] of each latent frame, moved to the CPU as they are made."""
    stride = vae.spec.config.spatial_stride
    _, _, count, height, width = latent.shape
    video = VideoShape(video_frames(count), height * stride, width * stride)
    progress = vae.runtime.progress(count, "decoding")
    with _at_work(vae, decoding_task, video, memory) as (network, strips):
        tile = None if strips else TILES[0]
        stream = network.decode_stream(latent, strips or 1, tile=tile, check=vae.runtime.check_interrupt)
        for number, piece in enumerate(stream, start=1):
            yield ((piece.float() + 1) / 2).clamp(0, 1).movedim(1, -1).cpu()
            progress.update(number)


@contextlib.contextmanager
def _at_work(
    vae: PlacedModel, make_task: Callable[..., Task], video: VideoShape, memory: MemorySettings
) -> Iterator[tuple[CausalVAE, int]]:
    """The network where it is to compute, and the fewest strips that fit there; 0 when not even the thinnest do."""
    residence, config = vae.residence, vae.spec.config
    if memory.vae == "cpu":
        check_for_cpu(vae.dtype, vae.file)
        residence.unload()
        yield residence.module, memory.strips or 1
        return
    if residence.device.type == "cuda":
        warn_of_slow_conv3d()
    weights = bytes_of(residence.module, vae.dtype)

    def task(video: VideoShape) -> Task:
        return make_task(weights, config, video)

    def what_fits(limit: int) -> Iterator[str]:
        def fits(video: VideoShape) -> bool:
            return smallest_bytes(task(video)) <= limit

        return smaller_videos(video._replace(frames=1), config.spatial_stride, fits)

    choice = memory.choose(task(video), residence.device, what_fits, vae.runtime)
    with residence.loaded(choice.way.working_bytes) as network:
        limit = memory.limit(residence.device, vae.runtime)
        yield network, memory.strips or (choice.way.number if limit is None or choice.device_bytes <= limit else 0)
