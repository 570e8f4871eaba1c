"""The encoder of the causal video autoencoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .config import VAEConfig
from .layers import AttentionBlock, ChannelNorm, Downsample, ResidualBlock, causal_conv, channels_last, norm_and_conv
from .stream import FrameStream, Step, run, steps_of
from .wan22 import down_levels, patchify


class Encoder(nn.Module):
    """Video [B, 3, F, H, W] -> features [B, 2 * latent_channels, T, h, w]."""

    def __init__(self, config: VAEConfig, operations: Any = nn) -> None:
        super().__init__()
        widths = config.encoder_widths
        last = widths[-1]
        self.patch_size = config.patch_size
        self.conv1 = operations.Conv3d(config.patch_channels, config.base_channels, 3, padding=(0, 1, 1))
        levels = down_levels if config.level_shortcuts else _levels
        self.downsamples = nn.ModuleList(levels(config, operations))
        self.middle = nn.ModuleList(
            (
                ResidualBlock(last, last, operations),
                AttentionBlock(last, operations),
                ResidualBlock(last, last, operations),
            )
        )
        self.head = nn.Sequential(
            ChannelNorm(last),
            nn.SiLU(),
            operations.Conv3d(last, 2 * config.latent_channels, 3, padding=(0, 1, 1)),
        )

    def forward(self, video: Tensor, stream: FrameStream) -> Tensor:
        """Encodes the next frames of a clip; a latent frame comes with the first frame and each fourth after it."""
        return run(self.steps(), video, stream)

    def steps(self) -> tuple[Step, ...]:
        """The way of a frame through the encoder."""
        layers = (*self.downsamples, *self.middle)
        enter = Step(self._enter, above=1, below=1, down=self.patch_size)
        leave = Step(self._leave, above=1, below=1)
        return (enter, *steps_of(layers), leave)

    def striped(self) -> range:
        """Which of the steps may be run in strips: to the end of the last shrinking layer but one.

        Memory peaks at their start. What they have finished waits until all strips are done, so that they end where a
        layer has also halved the number of frames.
        """
        end, shrunk = 1, []
        for layer in self.downsamples:
            steps = steps_of((layer,))
            end += len(steps)
            if any(step.down > step.up for step in steps):
                shrunk.append(end)
        return range(shrunk[-2:][0])

    def _enter(self, video: Tensor, stream: FrameStream) -> Tensor:
        return causal_conv(self.conv1, channels_last(patchify(video, self.patch_size)), stream)

    def _leave(self, x: Tensor, stream: FrameStream) -> Tensor:
        norm, conv = norm_and_conv(self.head)
        return causal_conv(conv, norm.silu(x), stream)


def _levels(config: VAEConfig, operations: Any) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = config.base_channels
    for level, width in enumerate(config.encoder_widths):
        for _ in range(config.residual_blocks):
            layers.append(ResidualBlock(channels, width, operations))
            channels = width
        if level < len(config.temporal_downsample):
            layers.append(Downsample(width, config.temporal_downsample[level], operations))
    return layers
