"""The encoder of the causal video autoencoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .config import VAEConfig
from .layers import AttentionBlock, ChannelNorm, Downsample, ResidualBlock, causal_conv
from .stream import FrameStream


class Encoder(nn.Module):
    """Video [B, 3, F, H, W] -> features [B, 2 * latent_channels, T, h, w]."""

    def __init__(self, config: VAEConfig, operations: Any = nn) -> None:
        super().__init__()
        widths = config.encoder_widths
        last = widths[-1]
        self.conv1 = operations.Conv3d(3, config.base_channels, 3, padding=(0, 1, 1))
        self.downsamples = nn.ModuleList(_levels(config, operations))
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
        """Encodes the next frames of a clip: the first frame, or whole groups of four after it."""
        x = causal_conv(self.conv1, video, stream)
        for layer in (*self.downsamples, *self.middle):
            x = layer(x, stream)
        norm, silu, conv = self.head
        return causal_conv(conv, silu(norm(x)), stream)


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
