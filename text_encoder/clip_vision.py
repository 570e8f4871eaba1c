"""The CLIP vision encoder whose picture features steer the Wan 2.1 image-to-video models."""

from __future__ import annotations

from dataclasses import fields

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..common.initial import scaled_normal
from ..common.records import record
from ..common.streaming import BlockStream

# Source: Radford et al., CLIP, 2021; the published preprocessing of every CLIP model.
_PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
_PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


@record
class ClipVisionConfig:
    """Size of an encoder: pictures of `image_size` pixels in patches of `patch`; `embed_dim` is the shared space."""

    image_size: int = 224
    patch: int = 14
    dim: int = 1280
    heads: int = 16
    layers: int = 32
    mlp_dim: int = 5120
    embed_dim: int = 1024
    eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """Number of feature vectors of one picture: the patches and the class token in front."""
        return 1 + (self.image_size // self.patch) ** 2


CLIP_VIT_H = ClipVisionConfig()


@record
class ClipVisionOutput:
    """Features of B pictures; fields can also be read as items, as ComfyUI's nodes do.

    Attributes:
        penultimate_hidden_states: [B, tokens, dim], after all blocks but the last, not normed: what Wan uses.
        last_hidden_state: [B, tokens, dim], after the last block, not normed.
        image_embeds: [B, embed_dim], the normed class token in the space shared with text.
        made_by: what tells which file made them, for messages; None where nothing does.
    """

    penultimate_hidden_states: Tensor
    last_hidden_state: Tensor
    image_embeds: Tensor
    made_by: object = None

    def __getitem__(self, name: str) -> Tensor:
        if name not in {each.name for each in fields(self)}:
            raise KeyError(name)
        return getattr(self, name)


class ClipVisionEncoder(nn.Module):
    """A vision transformer; attribute names are the official CLIP keys without their prefix `visual.`.

    Linear layers compute in the dtype of the weights; norms and the residual stream in float32.

    Source: Wan-Video/Wan2.1 wan/modules/clip.py (9737cba), `VisionTransformer`; the exact (not tanh) GELU.
    """

    def __init__(self, config: ClipVisionConfig, operations=nn):
        super().__init__()
        self.config = config
        self.cls_embedding = nn.Parameter(scaled_normal(1, 1, config.dim, width=config.dim))
        self.pos_embedding = nn.Parameter(scaled_normal(1, config.tokens, config.dim, width=config.dim))
        self.patch_embedding = operations.Conv2d(3, config.dim, config.patch, stride=config.patch, bias=False)
        self.pre_norm = LayerNorm(config.dim, config.eps)
        self.transformer = nn.ModuleList(ClipVisionBlock(config, operations) for _ in range(config.layers))
        self.post_norm = LayerNorm(config.dim, config.eps)
        self.head = nn.Parameter(scaled_normal(config.dim, config.embed_dim, width=config.dim))

    def forward(self, pixels: Tensor, *, stream: BlockStream = iter) -> ClipVisionOutput:
        """Features of normalised pictures [B, 3, image_size, image_size] (see `preprocess`); float32.

        Args:
            stream: gives the blocks, each to be run before the next one is asked for.
        """
        dtype = self.patch_embedding.weight.dtype
        patches = rearrange(self.patch_embedding(pixels.to(dtype)).float(), "B D h w -> B (h w) D")
        x = torch.cat([self.cls_embedding.float().expand(len(pixels), -1, -1), patches], dim=1)
        x = self.pre_norm(x + self.pos_embedding.float())
        penultimate = x
        for block in stream(self.transformer):
            penultimate, x = x, block(x, dtype)
        embeds = self.post_norm(x[:, 0]) @ self.head.float()
        return ClipVisionOutput(penultimate, x, embeds)


class ClipVisionBlock(nn.Module):
    """Self-attention and feed-forward, each behind a norm and added to the float32 residual stream."""

    def __init__(self, config: ClipVisionConfig, operations):
        super().__init__()
        self.norm1 = LayerNorm(config.dim, config.eps)
        self.attn = ClipVisionAttention(config, operations)
        self.norm2 = LayerNorm(config.dim, config.eps)
        self.mlp = nn.Sequential(
            operations.Linear(config.dim, config.mlp_dim), nn.GELU(), operations.Linear(config.mlp_dim, config.dim)
        )

    def forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        x = x + self.attn(self.norm1(x).to(dtype)).float()
        return x + self.mlp(self.norm2(x).to(dtype)).float()


class ClipVisionAttention(nn.Module):
    """Multi-head self-attention with one matrix for query, key and value."""

    def __init__(self, config: ClipVisionConfig, operations):
        super().__init__()
        self.heads = config.heads
        self.to_qkv = operations.Linear(config.dim, 3 * config.dim)
        self.proj = operations.Linear(config.dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "B L (three N D) -> three B N L D", three=3, N=self.heads)
        values = F.scaled_dot_product_attention(q, k, v)
        return self.proj(rearrange(values, "B N L D -> B L (N D)"))


class LayerNorm(nn.Module):
    """Layer norm, computed and returned in float32."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(dim, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.weight.shape, self.weight.float(), self.bias.float(), self.eps)


def preprocess(frames: Tensor, image_size: int = CLIP_VIT_H.image_size, *, crop: bool = False) -> Tensor:
    """Pictures as the encoder expects them.

    Without `crop` the whole picture is squeezed into a square by plain bicubic interpolation, as the official code
    does. With `crop` the shorter side is fitted (antialiased, rounded to 8 bits) and the centre square kept, as
    ComfyUI's CLIP vision node does when asked to crop.

    Args:
        frames: [B, H, W, 3 or more], float, values in 0..1; channels after the third are ignored.
        image_size: side of the square in pixels.

    Returns:
        [B, 3, image_size, image_size], float32, normalised with CLIP's mean and standard deviation.
    """
    pixels = frames[..., :3].movedim(-1, 1).float()
    if crop:
        pixels = _fit_and_crop(pixels, image_size)
    else:
        pixels = F.interpolate(pixels, size=(image_size, image_size), mode="bicubic", align_corners=False)
    mean = pixels.new_tensor(_PIXEL_MEAN).view(3, 1, 1)
    std = pixels.new_tensor(_PIXEL_STD).view(3, 1, 1)
    return (pixels - mean) / std


def _fit_and_crop(pixels: Tensor, size: int) -> Tensor:
    height, width = pixels.shape[-2:]
    if (height, width) != (size, size):
        scale = size / min(height, width)
        fitted = (round(scale * height), round(scale * width))
        pixels = F.interpolate(pixels, size=fitted, mode="bicubic", align_corners=False, antialias=True)
        top, left = (fitted[0] - size) // 2, (fitted[1] - size) // 2
        pixels = pixels[..., top : top + size, left : left + size]
    return (pixels * 255).clamp(0, 255).round() / 255


def encode_image(
    encoder: ClipVisionEncoder, frames: Tensor, *, crop: bool = False, stream: BlockStream = iter
) -> ClipVisionOutput:
    """Features of pictures [B, H, W, 3] in 0..1, on the encoder's device; see `preprocess` for `crop`.

    Args:
        stream: see `ClipVisionEncoder.forward`.
    """
    pixels = preprocess(frames.to(encoder.pos_embedding.device), encoder.config.image_size, crop=crop)
    return encoder(pixels, stream=stream)
