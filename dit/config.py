"""Sizes of the Wan transformer: one frozen record, and the published models by name."""

from __future__ import annotations

from dataclasses import dataclass

PATCH = (1, 2, 2)
"""Latent frames, rows and columns that one token covers."""


@dataclass(frozen=True, slots=True)
class DiTConfig:
    """Everything that fixes the shape of a Wan transformer.

    Attributes:
        dim: width of a token; `dim / heads` is the head width (128 in every published model) and must be even.
        ffn_dim: inner width of the feed-forward layers.
        in_channels: 16 for text to video, 36 = 16 + 4 mask + 16 image channels for image to video.
        text_dim, text_tokens: the text embedding is [B, text_tokens, text_dim].
        clip_dim: width of CLIP image features; None for a model without an image branch in its cross-attention.
        clip_tokens: length of the position embedding added to CLIP features (514 in FLF2V); None for a model
            that has none, which then takes any number of CLIP tokens.
    """

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    text_tokens: int = 512
    freq_dim: int = 256
    eps: float = 1e-6
    clip_dim: int | None = None
    clip_tokens: int | None = None

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.heads

    @property
    def image_channels(self) -> int:
        """Input channels beside the latent: 0, or 4 mask + 16 image channels."""
        return self.in_channels - self.out_channels


# Source: Wan-Video/Wan2.1 wan/configs, and the shapes of the published files.
PRESETS = {
    "t2v-1.3B": DiTConfig(dim=1536, ffn_dim=8960, heads=12, layers=30),
    "t2v-14B": DiTConfig(dim=5120, ffn_dim=13824, heads=40, layers=40),
    "i2v-14B": DiTConfig(dim=5120, ffn_dim=13824, heads=40, layers=40, in_channels=36, clip_dim=1280),
    "flf2v-14B": DiTConfig(
        dim=5120, ffn_dim=13824, heads=40, layers=40, in_channels=36, clip_dim=1280, clip_tokens=514
    ),
}
