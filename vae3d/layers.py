"""The layers of the causal video autoencoder. Attribute names equal the keys of the official checkpoint."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .stream import FrameStream


def causal_conv(conv: nn.Conv3d, frames: Tensor, stream: FrameStream) -> Tensor:
    """Convolves each frame with itself and the frames before it; there is nothing (zeros) before the first.

    Args:
        conv: kernel (k, n, n), temporal stride 1, padding (0, p, p).
        frames: [B, C, T, H, W], the next frames of the clip.
        stream: holds the k - 1 frames before them.

    Returns:
        [B, C_out, T, H', W'].
    """
    reach = conv.kernel_size[0] - 1
    if stream.has_begun(conv):
        frames_seen = torch.cat((stream.past(conv), frames), dim=2)
    else:
        frames_seen = frames
    stream.keep(conv, frames_seen[:, :, -reach:])
    missing = reach + frames.shape[2] - frames_seen.shape[2]
    if frames.shape[2] == 1:
        # The taps that would meet the zeros before the clip are left out.
        return F.conv3d(frames_seen, conv.weight[:, :, missing:], conv.bias, padding=conv.padding)
    if missing:
        frames_seen = F.pad(frames_seen, (0, 0, 0, 0, missing, 0))
    return conv(frames_seen)


def fold_frames(frames: Tensor) -> Tensor:
    """[B, C, T, H, W] -> [B * T, C, H, W]: the frames as a batch of pictures."""
    return frames.transpose(1, 2).flatten(0, 1)


def unfold_frames(pictures: Tensor, frame_count: int) -> Tensor:
    """[B * T, C, H, W] -> [B, C, T, H, W], the inverse of `fold_frames`."""
    return pictures.unflatten(0, (-1, frame_count)).transpose(1, 2)


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels, dim 1; `dims` counts the dimensions after the channels."""

    def __init__(self, channels: int, dims: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * dims))

    def forward(self, x: Tensor) -> Tensor:
        normalized = F.normalize(x.float(), dim=1).to(x.dtype)
        return normalized * x.shape[1] ** 0.5 * self.gamma


class ResidualBlock(nn.Module):
    """Two causal convolutions beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, operations: Any = nn) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ChannelNorm(in_channels),
            nn.SiLU(),
            operations.Conv3d(in_channels, out_channels, 3, padding=(0, 1, 1)),
            ChannelNorm(out_channels),
            nn.SiLU(),
            nn.Identity(),  # dropout in the official training code
            operations.Conv3d(out_channels, out_channels, 3, padding=(0, 1, 1)),
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else operations.Conv3d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        norm1, silu, conv1, norm2, _, _, conv2 = self.residual
        shortcut = self.shortcut(x)
        x = causal_conv(conv1, silu(norm1(x)), stream)
        return causal_conv(conv2, silu(norm2(x)), stream) + shortcut


class AttentionBlock(nn.Module):
    """Attention with one head among the pixels of each frame."""

    def __init__(self, channels: int, operations: Any = nn) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, dims=2)
        self.to_qkv = operations.Conv2d(channels, channels * 3, 1)
        self.proj = operations.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        height, width = x.shape[-2:]
        pictures = fold_frames(x)
        q, k, v = self.to_qkv(self.norm(pictures)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v)  # [B * T, 1, H * W, C]
        mixed = mixed.squeeze(1).transpose(1, 2).unflatten(2, (height, width))
        return x + unfold_frames(self.proj(mixed), x.shape[2])


class Upsample(nn.Module):
    """Doubles height and width, and the number of frames after the first one if `temporal`; halves the channels."""

    def __init__(self, channels: int, temporal: bool, operations: Any = nn) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=(2.0, 2.0), mode="nearest-exact"),
            operations.Conv2d(channels, channels // 2, 3, padding=1),
        )
        self.time_conv = operations.Conv3d(channels, channels * 2, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        if self.time_conv is not None:
            x = self._double_frames(x, stream)
        return unfold_frames(self.resample(fold_frames(x)), x.shape[2])

    def _double_frames(self, x: Tensor, stream: FrameStream) -> Tensor:
        """The clip's first frame stays one, and the convolution never sees it; each later frame becomes two."""
        if stream.has_begun(self):
            return self._double(x, stream)
        first, rest = x[:, :, :1], x[:, :, 1:]
        stream.keep(self, x[:, :, :0])
        return torch.cat((first, self._double(rest, stream)), dim=2) if rest.shape[2] else first

    def _double(self, x: Tensor, stream: FrameStream) -> Tensor:
        pairs = causal_conv(self.time_conv, x, stream).unflatten(1, (2, -1))  # [B, 2, C, T, H, W]
        return pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)


class Downsample(nn.Module):
    """Halves height and width, and the number of frames after the first one if `temporal`."""

    def __init__(self, channels: int, temporal: bool, operations: Any = nn) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)),
            operations.Conv2d(channels, channels, 3, stride=2),
        )
        self.time_conv = operations.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x: Tensor, stream: FrameStream) -> Tensor:
        x = unfold_frames(self.resample(fold_frames(x)), x.shape[2])
        return x if self.time_conv is None else self._halve_frames(x, stream)

    def _halve_frames(self, x: Tensor, stream: FrameStream) -> Tensor:
        """The clip's first frame stays; each pair after it becomes one, seen together with the frame before it."""
        if stream.has_begun(self):
            seen = torch.cat((stream.past(self), x), dim=2)
            stream.keep(self, x[:, :, -1:])
            return self.time_conv(seen)
        stream.keep(self, x[:, :, -1:])
        first = x[:, :, :1]
        return torch.cat((first, self.time_conv(x)), dim=2) if x.shape[2] > 1 else first
