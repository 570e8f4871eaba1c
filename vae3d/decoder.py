"""The decoder of the causal video autoencoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .config import VAEConfig
from .layers import AttentionBlock, ChannelNorm, ResidualBlock, Upsample, causal_conv
from .stream import FrameStream


class Decoder(nn.Module):
    """Latent [B, latent_channels, T, h, w] -> video [B, 3, F, H, W]."""

    def __init__(self, config: VAEConfig, operations: Any = nn) -> None:
        super().__init__()
        widths = config.decoder_widths
        first, last = widths[0], widths[-1]
        self.conv1 = operations.Conv3d(config.latent_channels, first, 3, padding=(0, 1, 1))
        self.middle = nn.ModuleList(
            (
                ResidualBlock(first, first, operations),
                AttentionBlock(first, operations),
                ResidualBlock(first, first, operations),
            )
        )
        self.upsamples = nn.ModuleList(_levels(config, operations))
        self.head = nn.Sequential(
            ChannelNorm(last),
            nn.SiLU(),
            operations.Conv3d(last, 3, 3, padding=(0, 1, 1)),
        )

    def forward(self, latent: Tensor, stream: FrameStream) -> Tensor:
        """Decodes the next latent frames of a clip: the first gives one frame, each later one four."""
        x = causal_conv(self.conv1, latent, stream)
        for layer in (*self.middle, *self.upsamples):
            x = layer(x, stream)
        norm, silu, conv = self.head
        return causal_conv(conv, silu(norm(x)), stream)


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
