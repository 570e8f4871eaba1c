"""A small decoder for previews: 2D convolutions that also see the frame before, frame after frame in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..common.records import record

LEVELS = 3
"""Each ends with pictures twice as large."""
_BLOCKS = 3  # memory blocks of a level
_SQUASH = 3.0


@record
class TinyDecoderConfig:
    """The sizes of a `TinyDecoder`.

    Attributes:
        latent_channels: of a normalised latent.
        widths: channels of the three levels, and behind the last.
        frames: that a level makes of each frame.
        patch: side of the square of pixels that the last layer gives for each of its own.
    """

    latent_channels: int
    widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    frames: tuple[int, int, int] = (1, 2, 2)
    patch: int = 1

    @property
    def spatial_stride(self) -> int:
        """Pixels of a side for each latent pixel."""
        return 2**LEVELS * self.patch


class TinyDecoder(nn.Module):
    """Pictures of a normalised latent, in 0..1, rough but sharp: the decoder of TAEHV.

    Of every latent frame it makes as many pictures as the levels make of a frame, 4 for Wan; the first latent frame is
    one picture, the last of its four.

    Source: repository madebyollin/taehv, taehv.py, commit 115aaa7 (the names of the tensors, too).
    """

    def __init__(self, config: TinyDecoderConfig, operations: Any = nn) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        parts: list[nn.Module] = [Squash(), _conv(operations, config.latent_channels, widths[0], bias=True), Rectify()]
        for level in range(LEVELS):
            parts += [MemoryBlock(widths[level], operations) for _ in range(_BLOCKS)]
            parts += [Enlarge(), MoreFrames(widths[level], config.frames[level], operations)]
            parts += [_conv(operations, widths[level], widths[level + 1], bias=False)]
        parts += [Rectify(), _conv(operations, widths[-1], 3 * config.patch**2, bias=True)]
        self.decoder = nn.Sequential(*parts)

    def pictures(self, latent_frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """All pictures of a video [B, 3, H, W], made as they are asked for.

        Args:
            latent_frames: each [B, C, h, w], normalised, in their order.
        """
        stream: Iterator[Tensor] = iter(latent_frames)
        for part in self.decoder:
            stream = _through(part, stream)
        left_out = self.config.frames[0] * self.config.frames[1] * self.config.frames[2] - 1
        for number, picture in enumerate(stream):
            if number >= left_out:
                yield self.finish(picture)

    def stills(self, latent_frames: Iterable[Tensor], *, is_half: bool = False) -> Iterator[Tensor]:
        """The last picture of each latent frame, for about 60 % of the work: no level makes more frames.

        The author's cheaper preview: what a level would have made before the last one, its blocks do not see.

        Args:
            latent_frames: as for `pictures`.
            is_half: pictures of half the height and width, without the last enlargement.
        """
        last_enlargement = max(index for index, part in enumerate(self.decoder) if isinstance(part, Enlarge))
        stream: Iterator[Tensor] = iter(latent_frames)
        for index, part in enumerate(self.decoder):
            if not (is_half and index == last_enlargement):
                stream = _through(part.last_only() if isinstance(part, MoreFrames) else part, stream)
        for picture in stream:
            yield self.finish(picture)

    def multiply_adds(self, height: int, width: int, *, is_half: bool = False) -> int:
        """Of one picture of `stills`, of a latent frame of this size."""
        pixels, total = height * width, 0
        enlargements = LEVELS
        for part in self.decoder:
            if isinstance(part, Enlarge):
                enlargements -= 1
                pixels *= 1 if is_half and not enlargements else 4
            elif isinstance(part, MoreFrames):
                total += pixels * part.channels**2
            else:
                total += pixels * sum(weight.numel() for weight in part.parameters() if weight.ndim == 4)
        return total

    def working_bytes(self, height: int, width: int, itemsize: int) -> int:
        """Beside the weights, for a latent frame of this size: what the blocks remember, and the largest layer's."""
        remembered, largest = 0, 0
        for level, channels in enumerate(self.config.widths[:LEVELS]):
            pixels = height * width * 4**level
            remembered += _BLOCKS * pixels * channels
            largest = max(largest, 5 * pixels * channels, 3 * 4 * pixels * max(channels, self.config.widths[level + 1]))
        return (remembered + largest) * itemsize

    def finish(self, picture: Tensor) -> Tensor:
        """What the last layer gives, as pixels in 0..1."""
        return F.pixel_shuffle(picture, self.config.patch).clamp(0, 1)


class Squash(nn.Module):
    """Keeps latents that are out of the usual within 3."""

    def forward(self, frame: Tensor) -> Tensor:
        return torch.tanh(frame / _SQUASH) * _SQUASH


class Rectify(nn.Module):
    """The one activation of the decoder."""

    def forward(self, frame: Tensor) -> Tensor:
        return F.relu(frame)


class Enlarge(nn.Module):
    """Each pixel becomes four."""

    def forward(self, frame: Tensor) -> Tensor:
        return F.interpolate(frame, scale_factor=2.0, mode="nearest")


class MemoryBlock(nn.Module):
    """A residual block of three convolutions, the first of which sees the frame before as well."""

    def __init__(self, channels: int, operations: Any = nn) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(operations, 2 * channels, channels, bias=True),
            Rectify(),
            _conv(operations, channels, channels, bias=True),
            Rectify(),
            _conv(operations, channels, channels, bias=True),
        )

    def forward(self, frame: Tensor, before: Tensor) -> Tensor:
        return F.relu(self.conv(torch.cat([frame, before], dim=1)) + frame)


class MoreFrames(nn.Module):
    """Several frames of one, in their order: a matrix on its channels."""

    def __init__(self, channels: int, frames: int, operations: Any = nn) -> None:
        super().__init__()
        self.channels = channels
        self.conv = operations.Conv2d(channels, channels * frames, 1, bias=False)

    def forward(self, frame: Tensor) -> Tensor:
        return self.conv(frame)

    def last_only(self) -> LastFrame:
        """The layer that makes the last of the frames alone."""
        return LastFrame(self.conv.weight[-self.channels :])


class LastFrame(nn.Module):
    """See `MoreFrames.last_only`; a view of its weights."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, frame: Tensor) -> Tensor:
        return F.conv2d(frame, self.weight)


def _conv(operations: Any, channels: int, out_channels: int, *, bias: bool) -> nn.Conv2d:
    return operations.Conv2d(channels, out_channels, 3, padding=1, bias=bias)


def _through(part: nn.Module, frames: Iterator[Tensor]) -> Iterator[Tensor]:
    """What a part of the decoder makes of frames, as they come."""
    if isinstance(part, MemoryBlock):
        return _remembering(part, frames)
    if isinstance(part, MoreFrames):
        return (made for frame in frames for made in part(frame).split(part.channels, dim=1))
    return (part(frame) for frame in frames)


def _remembering(block: MemoryBlock, frames: Iterator[Tensor]) -> Iterator[Tensor]:
    before: Tensor | None = None
    for frame in frames:
        yield block(frame, torch.zeros_like(frame) if before is None else before)
        before = frame
