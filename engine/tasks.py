"""What each stage of a run has to do, as the planner of memory asks it: from a model's weights and a video's size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
from torch import nn

from .. import audio_encoder
from ..common.families import Family
from ..common.shapes import LatentShape, VideoShape, latent_frames
from ..dit.footprint import BLOCKWISE, FP8, PLAIN, Unpacking
from ..memory.plan import Task, Way
from ..memory.policy import block_bytes, streamed_blocks
from ..memory.tensors import held_tensors, size_bytes
from ..model_loading.footprint import ModelBytes
from ..text_encoder import footprint as text_footprint
from ..text_encoder.encode import MAX_TOKENS
from ..text_encoder.umt5 import UMT5Config
from ..vae3d.budget import decode_bytes, encode_bytes
from ..vae3d.config import VAEConfig
from ..vae3d.vae import STRIP_CHOICES
from ..weights.layers import StoringLayer

_HALO = 0.07
"""Part of the work that one more strip adds, at a height of 480 pixels."""
_PICTURE_BYTES = 12
"""Of a pixel of the frames in RAM."""
_LEAST_SIDE = 32


def bytes_of(module: nn.Module, dtype: torch.dtype) -> ModelBytes:
    """The weights of a loaded model."""
    blocks = tuple(block_bytes(streamed_blocks(module)))
    total = size_bytes(held_tensors(module))
    unpacking = max((_unpacking(layer) for layer in module.modules()), default=PLAIN)
    return ModelBytes(max(0, total - sum(blocks)), blocks, dtype.itemsize, unpacking, 0)


def text_task(weights: ModelBytes, config: UMT5Config, tokens: int = MAX_TOKENS) -> Task:
    """Encoding a prompt."""
    working = text_footprint.encode_bytes(
        config, tokens=tokens, itemsize=weights.itemsize, is_unpacked=weights.unpacking.is_made
    )
    flops = 2 * tokens * config.layers * text_footprint.block_elements(config)
    return Task(
        "encode the prompt", weights.fixed, weights.blocks, (Way(1, working),), flops,
        anonymous_bytes=weights.anonymous, runs_once=True,
    )  # fmt: skip


def clip_task(weights: ModelBytes) -> Task:
    """Looking at a picture, whose few tokens take little beside the weights."""
    return Task(
        "look at the picture", weights.total, (), (Way(1, weights.total // 20),), anonymous_bytes=weights.anonymous
    )


def sound_task(weights: ModelBytes, config: audio_encoder.AudioEncoderConfig, samples: int) -> Task:
    """Listening to a sound of so many samples."""
    working = audio_encoder.working_bytes(samples, config, weights.itemsize)
    return Task("encode the sound", weights.total, (), (Way(1, working),), anonymous_bytes=weights.anonymous)


def encoding_task(
    weights: ModelBytes, config: VAEConfig, video: VideoShape, *, given: VideoShape | None = None, beside: int = 0
) -> Task:
    """Frames to latent.

    Args:
        given: the frames in RAM, where they become `video` on the way; None for the video itself.
        beside: bytes on the device for that.
    """
    pictures = prod(given or video) * _PICTURE_BYTES
    ways = tuple(
        way._replace(working_bytes=way.working_bytes + beside) for way in _ways(encode_bytes, weights, config, video)
    )
    return Task("encode the pictures", weights.total, (), ways, anonymous_bytes=weights.anonymous, host_bytes=pictures)


def decoding_task(weights: ModelBytes, config: VAEConfig, video: VideoShape, *, keeps_frames: bool = True) -> Task:
    """Latent to frames, which stay in RAM unless they go to a file one by one."""
    pictures = video.frames * video.height * video.width * _PICTURE_BYTES if keeps_frames else 0
    ways = _ways(decode_bytes, weights, config, video)
    return Task("decode", weights.total, (), ways, anonymous_bytes=weights.anonymous, host_bytes=pictures)


def latent_shape(family: Family, video: VideoShape, references: int = 0) -> LatentShape:
    """The latent of a video, with reference pictures before it."""
    stride = family.spatial_stride
    frames = latent_frames(video.frames) + references
    return LatentShape(family.latent_channels, frames, video.height // stride, video.width // stride)


def smaller_videos(video: VideoShape, multiple: int, fits: Callable[[VideoShape], bool]) -> Iterator[str]:
    """What else could be made: the longest video of this size, and the largest of this length, that fit."""
    frames = _largest(range((video.frames - 1) // 4), lambda count: fits(video._replace(frames=1 + 4 * count)))
    if frames is not None:
        yield f"at most {1 + 4 * frames} frames"
    sizes = [_scaled(video, part / 20, multiple) for part in range(4, 20)]
    size = _largest(range(len(sizes)), lambda number: fits(sizes[number]))
    if size is not None:
        yield f"at most {sizes[size].width} x {sizes[size].height} pixels"


def _scaled(video: VideoShape, factor: float, multiple: int) -> VideoShape:
    height, width = (max(multiple, _LEAST_SIDE, int(side * factor) // multiple * multiple) for side in video[1:])
    return VideoShape(video.frames, height, width)


def _largest(numbers: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The largest number that fits, where every one below it fits too."""
    low, high = -1, len(numbers) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(numbers[middle]) else (low, middle - 1)
    return numbers[low] if low >= 0 else None


def _ways(count: Callable[..., int], weights: ModelBytes, config: VAEConfig, video: VideoShape) -> tuple[Way, ...]:
    shown = 4 * video.height * video.width * _PICTURE_BYTES * 2  # the frames on their way, in float32, twice
    halo = _HALO * 480 / max(video.height, 1)
    return tuple(
        Way(
            strips,
            count(config, video.height, video.width, strips=strips, itemsize=weights.itemsize) + shown,
            halo * (strips - 1),
        )
        for strips in STRIP_CHOICES
    )


def _unpacking(layer: nn.Module) -> Unpacking:
    stored = layer.stored() if isinstance(layer, StoringLayer) else None
    if stored is None:
        return PLAIN
    return FP8 if stored.is_number_by_number else BLOCKWISE
