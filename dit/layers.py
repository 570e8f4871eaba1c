"""The small parts of the transformer: norms, gated residual, time signal, output head."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.initial import scaled_normal
from .config import PATCH, DiTConfig


class RMSNorm(nn.Module):
    """Root-mean-square norm over the whole width (all heads together), computed and returned in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D] float32."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps)


def modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float, runs: tuple[int, ...] | None = None) -> Tensor:
    """LayerNorm(x) * (1 + scale) + shift in one pass, statistics in float32, given in x's dtype.

    Rounding scale and shift to a 16-bit x costs nothing measurable beside the rounding of x itself.

    Args:
        x: [B, L, D].
        scale, shift: [B, G, D], float32, one row for each of G runs of tokens.
        runs: their lengths; None for equal ones.
    """
    weights, biases = ((1 + scale).to(x.dtype).flatten(0, 1), shift.to(x.dtype).flatten(0, 1))
    lengths = runs or [x.shape[1] // scale.shape[1]] * scale.shape[1]
    parts = zip((run for video in x.split(1) for run in video.split(lengths, dim=1)), weights, biases)
    normed = [F.layer_norm(part, x.shape[-1:], weight, bias, eps) for part, weight, bias in parts]
    return normed[0] if len(normed) == 1 else torch.cat(normed, dim=1).view_as(x)


def affine_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """`norm` of x [B, L, D], statistics in float32, given in x's dtype, which may differ from the weights'."""
    return F.layer_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def add_gated(
    x: Tensor, y: Tensor, gate: Tensor, runs: tuple[int, ...] | None = None, *, may_overwrite: bool
) -> Tensor:
    """x + y * gate in x's dtype, in place if x may be overwritten.

    Args:
        x, y: [B, L, D].
        gate: [B, G, D], one row for each of G runs of tokens.
        runs: their lengths; None for equal ones.
    """
    if runs is not None:
        parts = zip(*(tokens.split(runs, dim=1) for tokens in (x, y)), gate.split(1, dim=1))
        added = [add_gated(*part, may_overwrite=may_overwrite) for part in parts]
        return x if may_overwrite else torch.cat(added, dim=1)
    gates = gate.to(x.dtype).unsqueeze(2)
    into, added = (tokens.unflatten(1, (gate.shape[1], -1)) for tokens in (x, y))  # [B, G, L / G, D]
    if not may_overwrite:
        return torch.addcmul(into, added, gates).flatten(1, 2)
    into.addcmul_(added, gates)
    return x


def add(x: Tensor, y: Tensor, *, may_overwrite: bool) -> Tensor:
    """x + y, in place if x may be overwritten."""
    return x.add_(y) if may_overwrite else x + y


def timestep_signal(timestep: Tensor, width: int) -> Tensor:
    """Sinusoids of the timestep: [B] -> [B, width] float32, the cosines before the sines.

    Source: Wan-Video/Wan2.1 wan/modules/model.py, sinusoidal_embedding_1d.
    """
    half = width // 2
    precise = torch.float32 if timestep.device.type == "mps" else torch.float64
    steps = torch.arange(half, dtype=precise, device=timestep.device)
    angles = torch.outer(timestep.to(precise), torch.pow(10000.0, -steps / half))
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


class Head(nn.Module):
    """Tokens -> the values of their patches."""

    def __init__(self, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__()
        self.eps = config.eps
        self.head = operations.Linear(config.dim, config.out_channels * PATCH[0] * PATCH[1] * PATCH[2])
        self.modulation = nn.Parameter(scaled_normal(1, 2, config.dim, width=config.dim))

    def forward(self, x: Tensor, time: Tensor, dtype: torch.dtype) -> Tensor:
        """x [B, L, D], time [B, G, D] for G equal runs of tokens -> [B, L, patch values], multiplied in `dtype`."""
        shift, scale = (self.modulation.float() + time.float().unsqueeze(2)).unbind(2)  # each [B, G, D]
        return self.head(modulated_norm(x, scale, shift, self.eps).to(dtype))
