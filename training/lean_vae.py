"""The causal VAE as plain functions of a dict of weights, arranged for fast training of whole clips on a CPU.

The same arithmetic as `wan_director.vae3d` (a test compares them), with three differences that only concern time:
whole clips go through at once, activations are channels-last, and single pictures use only the last temporal tap
of each kernel, because the frames before the first one are zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def encode(weights: Weights, video: Tensor) -> tuple[Tensor, Tensor]:
    """Video [B, 3, F, H, W] in -1..1 -> (mean, log variance), each [B, C, T, h, w] and raw."""
    x = _causal_conv(weights, "encoder.conv1", _channels_last(video))
    for index in _indices(weights, "encoder.downsamples."):
        name = f"encoder.downsamples.{index}"
        if f"{name}.resample.1.weight" in weights:
            x = _downsample(weights, name, x)
        else:
            x = _residual(weights, name, x)
    x = _middle(weights, "encoder.middle", x)
    x = _head(weights, "encoder.head", x)
    mean, log_variance = _causal_conv(weights, "conv1", x).chunk(2, dim=1)
    return mean, log_variance


def decode(weights: Weights, latent: Tensor) -> Tensor:
    """Raw latent [B, C, T, h, w] -> video [B, 3, F, H, W], not clamped."""
    x = _causal_conv(weights, "conv2", _channels_last(latent))
    x = _causal_conv(weights, "decoder.conv1", x)
    x = _middle(weights, "decoder.middle", x)
    for index in _indices(weights, "decoder.upsamples."):
        name = f"decoder.upsamples.{index}"
        if f"{name}.resample.1.weight" in weights:
            x = _upsample(weights, name, x)
        else:
            x = _residual(weights, name, x)
    return _head(weights, "decoder.head", x)


def _indices(weights: Weights, prefix: str) -> list[int]:
    return sorted({int(name[len(prefix) :].split(".")[0]) for name in weights if name.startswith(prefix)})


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


def _causal_conv(weights: Weights, name: str, x: Tensor) -> Tensor:
    kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    past, side = kernel.shape[2] - 1, kernel.shape[-1] // 2
    if x.shape[2] == 1:
        picture = F.conv2d(x[:, :, 0], kernel[:, :, -1], bias, padding=side)
        return picture.unsqueeze(2)
    if past:
        x = F.pad(x, (0, 0, 0, 0, past, 0))
    return F.conv3d(x, kernel, bias, padding=(0, side, side))


def _norm(x: Tensor, gamma: Tensor) -> Tensor:
    """RMS norm over the channels."""
    squares = x.float().square().sum(1, keepdim=True)
    scale = (squares + 1e-12).rsqrt() * x.shape[1] ** 0.5
    shape = (1, -1) + (1,) * (x.dim() - 2)
    return x * scale.to(x.dtype) * gamma.reshape(shape)


def _residual(weights: Weights, name: str, x: Tensor) -> Tensor:
    y = F.silu(_norm(x, weights[f"{name}.residual.0.gamma"]))
    y = _causal_conv(weights, f"{name}.residual.2", y)
    y = F.silu(_norm(y, weights[f"{name}.residual.3.gamma"]))
    y = _causal_conv(weights, f"{name}.residual.6", y)
    if f"{name}.shortcut.weight" in weights:
        x = _causal_conv(weights, f"{name}.shortcut", x)
    return x + y


def _head(weights: Weights, name: str, x: Tensor) -> Tensor:
    return _causal_conv(weights, f"{name}.2", F.silu(_norm(x, weights[f"{name}.0.gamma"])))


def _frames(x: Tensor) -> Tensor:
    return x.permute(0, 2, 1, 3, 4).flatten(0, 1)  # [B*T, C, H, W]


def _clip(x: Tensor, batch: int) -> Tensor:
    return x.unflatten(0, (batch, -1)).permute(0, 2, 1, 3, 4)  # [B, C, T, H, W]


def _middle(weights: Weights, name: str, x: Tensor) -> Tensor:
    x = _residual(weights, f"{name}.0", x)
    x = _attention(weights, f"{name}.1", x)
    return _residual(weights, f"{name}.2", x)


def _attention(weights: Weights, name: str, x: Tensor) -> Tensor:
    batch = x.shape[0]
    pictures = _frames(x)
    height, width = pictures.shape[-2:]
    y = _norm(pictures, weights[f"{name}.norm.gamma"])
    qkv = F.conv2d(y, weights[f"{name}.to_qkv.weight"], weights[f"{name}.to_qkv.bias"])
    q, k, v = qkv.flatten(2).transpose(1, 2).chunk(3, dim=-1)  # [B*T, h*w, C]
    scores = torch.softmax((q @ k.transpose(1, 2)).float() * q.shape[-1] ** -0.5, dim=-1)
    y = (scores.to(v.dtype) @ v).transpose(1, 2).unflatten(2, (height, width))
    y = F.conv2d(y, weights[f"{name}.proj.weight"], weights[f"{name}.proj.bias"])
    return x + _clip(y, batch)


def _downsample(weights: Weights, name: str, x: Tensor) -> Tensor:
    batch = x.shape[0]
    pictures = F.pad(_frames(x), (0, 1, 0, 1))
    pictures = F.conv2d(pictures, weights[f"{name}.resample.1.weight"], weights[f"{name}.resample.1.bias"], stride=2)
    x = _clip(pictures, batch)
    if f"{name}.time_conv.weight" not in weights or x.shape[2] == 1:
        return x
    later = F.conv3d(x, weights[f"{name}.time_conv.weight"], weights[f"{name}.time_conv.bias"], stride=(2, 1, 1))
    return torch.cat([x[:, :, :1], later], dim=2)


def _upsample(weights: Weights, name: str, x: Tensor) -> Tensor:
    batch = x.shape[0]
    if f"{name}.time_conv.weight" in weights and x.shape[2] > 1:
        later = _causal_conv(weights, f"{name}.time_conv", x[:, :, 1:])
        later = later.unflatten(1, (2, -1)).permute(0, 2, 3, 1, 4, 5).flatten(2, 3)  # interleave the two new frames
        x = torch.cat([x[:, :, :1], later], dim=2)
    pictures = F.interpolate(_frames(x), scale_factor=2, mode="nearest")
    weight, bias = weights[f"{name}.resample.1.weight"], weights[f"{name}.resample.1.bias"]
    return _clip(F.conv2d(pictures, weight, bias, padding=1), batch)
