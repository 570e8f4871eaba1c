"""From the features of a sound's encoder to what a talking model hears in each latent frame."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

FRAMES_PER_LATENT = 4
"""Frames of features that one latent frame is made of, by two convolutions of stride 2."""
_NORM_EPS = 1e-6


class SpeechHearing(nn.Module):
    """The layers' features mixed, and what is heard in four video frames at a time: in parts, and as a whole.

    Source: Wan-Video/Wan2.2 wan/modules/s2v/audio_utils.py, CausalAudioEncoder, and auxi_blocks.py, MotionEncoder_tc.
    """

    def __init__(self, width: int, layers: int, tokens: int, dim: int, operations: ModuleType) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((1, layers, 1, 1), 0.01))
        self.encoder = Hearing(width, tokens, dim, operations)

    def forward(self, features: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """features [B, layers, width, 4 T] -> [B, T, D] and [B, T, tokens + 1, D], in `dtype`."""
        weights = F.silu(self.weights.float())
        mixed = (features.float() * weights / weights.sum(dim=1, keepdim=True)).sum(dim=1)  # [B, width, frames]
        return self.encoder(mixed.to(dtype))


class Hearing(nn.Module):
    """Causal convolutions over the frames of one sound."""

    def __init__(self, width: int, tokens: int, dim: int, operations: ModuleType) -> None:
        super().__init__()
        self.tokens = tokens
        part = dim // 4
        self.conv1_local = BackwardConv(width, part * tokens, 1, operations)
        self.conv1_global = BackwardConv(width, part, 1, operations)
        self.conv2 = BackwardConv(part, 2 * part, 2, operations)
        self.conv3 = BackwardConv(2 * part, dim, 2, operations)
        self.final_linear = operations.Linear(dim, dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """[B, width, frames] -> [B, T, D] and [B, T, tokens + 1, D]."""
        parts = rearrange(self.conv1_local(sound), "B (n C) F -> (B n) C F", n=self.tokens)
        parts = rearrange(self._heard(parts), "(B n) T D -> B T n D", n=self.tokens)
        always = self.padding_tokens.to(parts.dtype).expand(*parts.shape[:2], -1, -1)
        whole = self.final_linear(self._heard(self.conv1_global(sound)))
        return whole, torch.cat([parts, always], dim=2)

    def _heard(self, sound: Tensor) -> Tensor:
        """[b, C, frames] of the first convolution -> [b, T, D]."""
        sound = self.conv2(_activated(sound).transpose(1, 2))
        return _activated(self.conv3(_activated(sound).transpose(1, 2)))


class BackwardConv(nn.Module):
    """A convolution over three frames, the last of which is its own; the first frame stands for those before it."""

    def __init__(self, channels: int, out_channels: int, stride: int, operations: ModuleType) -> None:
        super().__init__()
        self.conv = operations.Conv1d(channels, out_channels, 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """[b, C, frames] -> [b, out_channels, frames / stride]."""
        return self.conv(F.pad(x, (2, 0), mode="replicate"))


def _activated(x: Tensor) -> Tensor:
    """[b, C, frames] -> [b, frames, C], each frame normed."""
    x = x.transpose(1, 2)
    return F.silu(F.layer_norm(x, x.shape[-1:], eps=_NORM_EPS))
