"""Sizes of the Wan transformer: one frozen record, and the published models by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

PATCH = (1, 2, 2)
"""Latent frames, rows and columns that one token covers."""


@dataclass(frozen=True, slots=True)
class DiTConfig:
    """Everything that fixes the shape of a Wan transformer.

    Attributes:
        dim: width of a token; `dim / heads` is the head width (128 in every published model) and must be even.
        ffn_dim: inner width of the feed-forward layers.
        in_channels: 16 for text to video, 36 = 16 + 4 mask + 16 image channels for image to video; 48 for TI2V-5B,
            which takes its first frame inside the latent.
        text_dim, text_tokens: the text embedding is [B, text_tokens, text_dim].
        clip_dim: width of CLIP image features; None for a model without an image branch in its cross-attention.
        clip_tokens: length of the position embedding added to CLIP features (514 in FLF2V); None for a model
            that has none, which then takes any number of CLIP tokens.
        vace_blocks: number of blocks that follow a control video; 0 for a model without VACE.
        vace_channels: channels of that control video: 32 of latents and 64 of mask.
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
    vace_blocks: int = 0
    vace_channels: int = 96

    @property
    def vace_layers(self) -> tuple[int, ...]:
        """The blocks that the VACE blocks steer, in order: every (layers / vace_blocks)-th, from the first on."""
        return tuple(range(0, self.layers, self.layers // self.vace_blocks)) if self.vace_blocks else ()

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.heads

    @property
    def image_channels(self) -> int:
        """Input channels beside the latent: 0, or 4 mask + 16 image channels."""
        return self.in_channels - self.out_channels

    def block_flops(self, tokens: int) -> int:
        """Floating-point operations of one block for a video of so many tokens: matrices and attention."""
        text = self.text_tokens
        matrices = 12 * tokens * self.dim**2 + 4 * text * self.dim**2 + 4 * tokens * self.dim * self.ffn_dim
        return matrices + 4 * tokens * (tokens + text) * self.dim


_1_3B = DiTConfig(dim=1536, ffn_dim=8960, heads=12, layers=30)
_5B = DiTConfig(dim=3072, ffn_dim=14336, heads=24, layers=30, in_channels=48, out_channels=48)
_14B = DiTConfig(dim=5120, ffn_dim=13824, heads=40, layers=40)

# Source: Wan-Video/Wan2.1 and Wan-Video/Wan2.2 wan/configs, and the shapes of the published files.
PRESETS = {
    "t2v-1.3B": _1_3B,
    "t2v-14B": _14B,  # and each expert of Wan 2.2 T2V-A14B
    "i2v-14B": replace(_14B, in_channels=36, clip_dim=1280),
    "flf2v-14B": replace(_14B, in_channels=36, clip_dim=1280, clip_tokens=514),
    "i2v-A14B": replace(_14B, in_channels=36),  # each expert of Wan 2.2
    "ti2v-5B": _5B,
    "fun-inp-1.3B": replace(_1_3B, in_channels=36, clip_dim=1280),
    "vace-1.3B": replace(_1_3B, vace_blocks=15),
    "vace-14B": replace(_14B, vace_blocks=8),
}
