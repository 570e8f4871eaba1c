"""What the Wan 2.2 autoencoder adds to that of Wan 2.1: patches of pixels, and a shortcut around each level.

Source: Wan-Video/Wan2.2, wan/modules/vae2_2.py.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..common.errors import InvalidInputError
from .config import VAEConfig
from .layers import Downsample, ResidualBlock, Upsample
from .stream import FrameStream, Step, as_one, run, steps_of


def patchify(video: Tensor, size: int) -> Tensor:
    """[B, C, F, H, W] -> [B, C * size * size, F, H / size, W / size]: squares of pixels become channels.

    Channel c * size * size + r * size + q is channel c of the pixel in row q and column r of its square.
    """
    if size == 1:
        return video
    return rearrange(video, "B C F (h q) (w r) -> B (C r q) F h w", q=size, r=size)


def unpatchify(patches: Tensor, size: int) -> Tensor:
    """[B, C * size * size, F, h, w] -> [B, C, F, h * size, w * size], the inverse of `patchify`."""
    if size == 1:
        return patches
    return rearrange(patches, "B (C r q) F h w -> B C F (h q) (w r)", q=size, r=size)


def down_levels(config: VAEConfig, operations: Any = nn) -> list[nn.Module]:
    """The levels of the encoder, finest first."""
    widths = (config.base_channels, *config.encoder_widths)
    shrinks = (*((temporal, True) for temporal in config.temporal_downsample), (False, False))
    return [
        DownLevel(widths[level], widths[level + 1], config.residual_blocks, *shrink, operations=operations)
        for level, shrink in enumerate(shrinks)
    ]


def up_levels(config: VAEConfig, operations: Any = nn) -> list[nn.Module]:
    """The levels of the decoder, coarsest first."""
    widths = (config.decoder_widths[0], *config.decoder_widths)
    grows = (*((temporal, True) for temporal in reversed(config.temporal_downsample)), (False, False))
    return [
        UpLevel(widths[level], widths[level + 1], config.residual_blocks + 1, *grow, operations=operations)
        for level, grow in enumerate(grows)
    ]


class DownLevel(nn.Module):
    """Residual blocks, then a `Downsample` where the level is `spatial`; beside them the means of the input."""

    def __init__(
        self, in_channels: int, out_channels: int, blocks: int, temporal: bool, spatial: bool, operations: Any = nn
    ) -> None:
        super().__init__()
        widths = (in_channels, *(out_channels,) * blocks)
        layers: list[nn.Module] = [ResidualBlock(*pair, operations) for pair in pairwise(widths)]
        if spatial:
            layers.append(Downsample(out_channels, temporal, operations))
        self.downsamples = nn.ModuleList(layers)
        self.avg_shortcut = BlockMeans(in_channels, out_channels, 1 + temporal, 1 + spatial)

    def steps(self) -> tuple[Step, ...]:
        return (as_one(self, self._inner_steps()),)

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        """[B, C, T, H, W] -> the frames that are complete, perhaps none (see `Downsample.halve_frames`)."""
        shortcut = self.avg_shortcut(x, stream)
        return run(self._inner_steps(), x, stream) + shortcut

    def _inner_steps(self) -> tuple[Step, ...]:
        return steps_of(self.downsamples)


class BlockMeans(nn.Module):
    """Shrinks frames without weights: a block of pixels becomes channels, of which neighbours are averaged.

    With `frames` = 2 a block spans a pair of frames; the clip's first frame is paired with zeros before it.
    """

    def __init__(self, in_channels: int, out_channels: int, frames: int, side: int) -> None:
        super().__init__()
        if in_channels * frames * side**2 % out_channels:
            raise InvalidInputError(
                f"Blocks of {frames} x {side} x {side} pixels with {in_channels} channels cannot be averaged to "
                f"{out_channels} channels. Choose other channel_multipliers."
            )
        self.out_channels, self.frames, self.side = out_channels, frames, side

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        """[B, C, T, H, W] -> [B, out_channels, T', H / side, W / side], for the pairs of frames that are complete."""
        if self.frames == 2:
            x = self._pairs(x, stream)
        sides = {"t": self.frames, "q": self.side, "r": self.side}
        blocks = rearrange(x, "B C (T t) (h q) (w r) -> B T h w (C t q r)", **sides)
        return blocks.unflatten(-1, (self.out_channels, -1)).mean(-1).movedim(-1, 1)

    def _pairs(self, x: Tensor, stream: FrameStream) -> Tensor:
        if not stream.has_begun(self):
            x = torch.cat((torch.zeros_like(x[:, :, :1]), x), dim=2)
        waiting = (stream.count(self) + x.shape[2]) % 2
        frames = torch.cat(stream.extend(self, x, keep=waiting), dim=2)
        return frames[:, :, : frames.shape[2] - waiting]


class UpLevel(nn.Module):
    """Residual blocks, then an `Upsample` and a shortcut where the level is `spatial`."""

    def __init__(
        self, in_channels: int, out_channels: int, blocks: int, temporal: bool, spatial: bool, operations: Any = nn
    ) -> None:
        super().__init__()
        widths = (in_channels, *(out_channels,) * blocks)
        layers: list[nn.Module] = [ResidualBlock(*pair, operations) for pair in pairwise(widths)]
        if spatial:
            layers.append(Upsample(out_channels, temporal, operations, out_channels=out_channels))
        self.upsamples = nn.ModuleList(layers)
        self.avg_shortcut = BlockCopies(in_channels, out_channels, 1 + temporal) if spatial else None

    def steps(self) -> tuple[Step, ...]:
        return self._inner_steps() if self.avg_shortcut is None else (as_one(self, self._inner_steps()),)

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        """[B, C, T, H, W] -> [B, out_channels, T', 2 * H, 2 * W]."""
        is_start = not stream.has_begun(self)
        stream.extend(self, x[:, :, :0], keep=0)
        grown = run(self._inner_steps(), x, stream)
        if self.avg_shortcut is not None:
            self.avg_shortcut.add_to(grown, x, is_start=is_start)
        return grown

    def _inner_steps(self) -> tuple[Step, ...]:
        return steps_of(self.upsamples)


class BlockCopies(nn.Module):
    """Enlarges frames without weights: each pixel becomes a block of 2 x 2 pixels, and of `frames` frames.

    A pixel of the block shows every n-th channel of the source, n = in_channels / out_channels, beginning at a
    channel that depends on its place in the block. The clip's first frame shows the last frame of its block.
    """

    def __init__(self, in_channels: int, out_channels: int, frames: int) -> None:
        super().__init__()
        self.every = in_channels // out_channels
        self.frames = frames
        if in_channels % out_channels or 4 * frames % self.every:
            raise InvalidInputError(
                f"{in_channels} channels cannot be spread over blocks of {frames} x 2 x 2 pixels with {out_channels} "
                "channels. Choose other channel_multipliers."
            )

    def add_to(self, grown: Tensor, source: Tensor, *, is_start: bool) -> None:
        """Adds the enlarged `source` [B, in_channels, T, H, W] to `grown`, in place: no enlarged copy is made.

        Args:
            grown: [B, out_channels, T * frames, 2 * H, 2 * W]; `frames` - 1 fewer at the start of the clip.
            is_start: whether the first frame of `source` is that of the clip.
        """
        missing = self.frames - 1 if is_start else 0
        for place, (frame, row, column) in enumerate(product(range(self.frames), range(2), range(2))):
            shown = source[:, place * self.every // (4 * self.frames) :: self.every]
            start = frame - missing
            if start < 0:
                shown, start = shown[:, :, 1:], start + self.frames
            grown[:, :, start :: self.frames, row::2, column::2] += shown
