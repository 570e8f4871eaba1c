"""The decoder of the causal video autoencoder."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor, nn

from .config import VAEConfig
from .layers import (
    AttentionBlock,
    ChannelNorm,
    ResidualBlock,
    Upsample,
    causal_conv,
    channels_last,
    conv_of_few,
    norm_and_conv,
)
from .stream import FrameStream, Step, run, steps_of
from .wan22 import unpatchify, up_levels


class Decoder(nn.Module):
    """Latent [B, latent_channels, T, h, w] -> video [B, 3, F, H, W], `decoded_stride` times as high and wide."""

    def __init__(self, config: VAEConfig, operations: Any = nn) -> None:
        super().__init__()
        widths = config.decoder_widths
        first, last = widths[0], widths[-1]
        self.patch_size, self.enlargement = config.patch_size, config.enlargement
        self.conv1 = operations.Conv3d(config.latent_channels, first, 3, padding=(0, 1, 1))
        self.middle = nn.ModuleList(
            (
                ResidualBlock(first, first, operations),
                AttentionBlock(first, operations),
                ResidualBlock(first, first, operations),
            )
        )
        levels = up_levels if config.level_shortcuts else _levels
        self.upsamples = nn.ModuleList(levels(config, operations))
        self.head = nn.Sequential(
            ChannelNorm(last),
            nn.SiLU(),
            operations.Conv3d(last, config.decoded_channels, 3, padding=(0, 1, 1)),
        )

    def forward(self, latent: Tensor, stream: FrameStream) -> Tensor:
        """Decodes the next latent frames of a clip: the first gives one frame, each later one four."""
        return run(self.steps(), latent, stream)

    def steps(self) -> tuple[Step, ...]:
        """The way of a frame through the decoder."""
        layers = (*self.middle, *self.upsamples)
        enter = Step(self._enter, above=1, below=1)
        scale = self.patch_size * self.enlargement
        leave = Step(self._leave, above=scale, below=scale, up=scale)
        return (enter, *steps_of(layers), leave)

    def striped(self) -> range:
        """Which of the steps may be run in strips: those behind the first enlargement. Memory peaks at their end."""
        steps = self.steps()
        enlarging = [number for number, step in enumerate(steps) if step.up > step.down]
        return range(enlarging[0] + 1, len(steps))

    def _enter(self, latent: Tensor, stream: FrameStream) -> Tensor:
        return causal_conv(self.conv1, channels_last(latent), stream)

    def _leave(self, x: Tensor, stream: FrameStream) -> Tensor:
        norm, conv = norm_and_conv(self.head)
        return unpatchify(spread(conv_of_few(norm, conv, x, stream), self.enlargement), self.patch_size)


def spread(pixels: Tensor, size: int) -> Tensor:
    """[B, C * size * size, F, h, w] -> [B, C, F, h * size, w * size], channels row by row, as `nn.PixelShuffle` does.

    (Wan 2.2's `unpatchify` takes them column by column.)
    """
    if size == 1:
        return pixels
    return rearrange(pixels, "B (C q r) F h w -> B C F (h q) (w r)", q=size, r=size)


def _levels(config: VAEConfig, operations: Any) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = config.decoder_widths[0]
    doubles_frames = tuple(reversed(config.temporal_downsample))
    for level, width in enumerate(config.decoder_widths):
        for _ in range(config.residual_blocks + 1):
            layers.append(ResidualBlock(channels, width, operations))
            channels = width
        if level < len(doubles_frames):
            layers.append(Upsample(width, doubles_frames[level], operations))
            channels = width // 2
    return layers
