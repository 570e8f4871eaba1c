"""Music as Wan-Dancer hears it: the features of a whole song, encoded, and stretched over the frames of a video."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....common.initial import scaled_normal
from ...rope import THETA

ROWS_PER_FRAME = 8
"""What is heard in a latent frame, one after the other along its tokens."""
_SONG_ROWS, _SONG_WIDTH = 149, 4800
"""What a song is brought to before it is stretched over a video, whatever its length."""
_HEADS = 4


class MusicAttention(nn.Module):
    """Every moment looks at all others; queries and keys are turned by its place before they are projected."""

    def __init__(self, width: int, operations: ModuleType) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(scaled_normal(3 * width, width, width=width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = operations.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, moments, width] -> [B, moments, width]."""
        turned = _turned(x)
        weights, biases = self.in_proj_weight.to(x.dtype).chunk(3), self.in_proj_bias.to(x.dtype).chunk(3)
        q, k, v = (
            F.linear(given, weight, bias).unflatten(-1, (_HEADS, -1)).transpose(1, 2)
            for given, weight, bias in zip((turned, turned, x), weights, biases)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _turned(x: Tensor) -> Tensor:
    """x [B, moments, width], neighbouring numbers of which are turned together, all of the width with one scale."""
    moments, width = x.shape[1:]
    frequencies = THETA ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(moments, dtype=torch.float64), frequencies)
    turns = torch.complex(angles.cos().float(), angles.sin().float()).to(x.device)
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


class MusicLayer(nn.Module):
    """A layer of the encoder of music."""

    def __init__(self, width: int, inner: int, operations: ModuleType) -> None:
        super().__init__()
        self.self_attn = MusicAttention(width, operations)
        self.linear1 = operations.Linear(width, inner)
        self.linear2 = operations.Linear(inner, width)
        self.norm1 = operations.LayerNorm(width)
        self.norm2 = operations.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, moments, width] -> [B, moments, width]."""
        x = x + self.self_attn(self.norm1(x))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


def over_frames(encoded: Tensor, frames: int, dim: int) -> Tensor:
    """What is heard of a song in a video that is as long as it.

    Args:
        encoded: [B, moments, width], of the whole song.
        frames: latent frames of the video.
        dim: width of the transformer.

    Returns:
        [B, 8 * frames, dim] in the dtype of `encoded`.

    Source: Wan-Video/Wan-Dancer diffsynth/pipelines/wan_video_new.py, model_fn_wan_video.
    """
    song = F.interpolate(encoded.float().unsqueeze(1), size=(_SONG_ROWS, _SONG_WIDTH), mode="bilinear")
    heard = F.interpolate(song, size=(ROWS_PER_FRAME * frames, dim), mode="bilinear")
    return heard.squeeze(1).to(encoded.dtype)
