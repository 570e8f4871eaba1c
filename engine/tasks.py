"""What each stage of a run has to do, as the planner of memory asks it: from a model's weights and a video's size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..common.families import Family
from ..common.shapes import LatentShape, VideoShape, latent_frames
from ..dit.config import DiTConfig
from ..dit.footprint import BLOCKWISE, FP8, NO_STEERING, PLAIN, Unpacking, pass_bytes, pass_shape
from ..memory.budget import FLOPS_PER_BYTE
from ..memory.plan import Task, Way
from ..memory.policy import block_bytes, streamed_blocks
from ..memory.tensors import held_tensors, size_bytes
from ..model_loading.footprint import ModelBytes
from ..sampling.cache import NO_CACHE, Cache
from ..sampling.windows import WHOLE_CLIP, Windows, longest_window
from ..text_encoder import footprint as text_footprint
from ..text_encoder.encode import MAX_TOKENS
from ..text_encoder.umt5 import UMT5Config
from ..vae3d.budget import decode_bytes, encode_bytes
from ..vae3d.config import VAEConfig
from ..vae3d.vae import STRIP_CHOICES
from ..weights.layers import StoringLayer

_STATE_LATENTS = 8
"""Latents in float32 that a run holds: the state, the noise, what the solver remembers, and two predictions."""
_HALO = 0.07
"""Part of the work that one more strip adds, at a height of 480 pixels."""
_PICTURE_BYTES = 12
"""Of a pixel of the frames in RAM."""
_LEAST_SIDE = 32


class StepPolicies(NamedTuple):
    """How a run shows the model its clip, and what it remembers between steps."""

    windows: Windows = WHOLE_CLIP
    cache: Cache = NO_CACHE


WHOLE_STEPS = StepPolicies()


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


def sampling_task(
    weights: ModelBytes,
    config: DiTConfig,
    batch: int,
    latent: LatentShape,
    *,
    passes: int,
    steering: Mapping[type, int] = NO_STEERING,
    run: int,
    policies: StepPolicies = WHOLE_STEPS,
) -> Task:
    """One step of sampling.

    Args:
        passes: questions of a step, see `guidance.most_asks`; each is a pass of the model in every window.
        steering: by kind of branch, how many things steer it.
        run: tokens at a time in the feed-forward layers, 0 for the usual number.
        policies: what the model sees at once, and what is kept.
    """
    frames, height, width = latent[1:]
    shape = pass_shape((batch, longest_window(policies.windows, frames), height, width), steering)
    windows = len(policies.windows.cuts(frames))
    flops = batch * config.block_flops(shape.length) * len(weights.blocks)
    buffer = shape.tokens * config.dim * (4 if weights.fp32_residual else weights.itemsize)
    kept = _kept_bytes(config, batch, latent, passes, steering) + windows * policies.cache.kept_bytes(passes, buffer)
    # Where copies would take longer than computing, the passes can go together, for a buffer more.
    numbers = {1, passes} if sum(weights.blocks) * FLOPS_PER_BYTE > flops else {1}
    ways = tuple(
        Way(
            number,
            kept
            + pass_bytes(
                config,
                shape._replace(together=number),
                itemsize=weights.itemsize,
                unpacking=weights.unpacking,
                run=run,
                fp32_residual=weights.fp32_residual,
            ),
        )
        for number in sorted(numbers)
    )
    runs = passes * windows
    return Task("sample", weights.fixed, weights.blocks, ways, flops, runs, anonymous_bytes=weights.anonymous)


def encoding_task(weights: ModelBytes, config: VAEConfig, video: VideoShape) -> Task:
    """Frames to latent."""
    pictures = video.frames * video.height * video.width * _PICTURE_BYTES
    ways = _ways(encode_bytes, weights, config, video)
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


def _kept_bytes(config: DiTConfig, batch: int, latent: LatentShape, passes: int, steering: Mapping[type, int]) -> int:
    """Latents, and what steers the model."""
    _, frames, height, width = latent
    pixels = batch * frames * height * width
    channels = _STATE_LATENTS * config.out_channels + passes * config.image_channels
    of_branches = sum(branch.input_bytes(pixels, passes, steering.get(type(branch), 0)) for branch in config.branches)
    return 4 * (pixels * channels + passes * config.text_tokens * config.text_dim) + of_branches


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
