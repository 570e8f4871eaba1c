"""Rotary position embedding over latent frame, row and column.

Suffixes: B batch, L tokens, N heads, D head width, P = D / 2 pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

THETA = 10000.0


class Rope(NamedTuple):
    """Cosine and sine of every token's angles, each [1, L, 1, P], float32."""

    cos: Tensor
    sin: Tensor


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """How many of a head's channels turn with the frame, the row and the column (44, 42, 42 of 128)."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def make_rope(head_dim: int, grid: tuple[int, int, int], device: torch.device | str = "cpu") -> Rope:
    """Tables for a grid of tokens (frames, rows, columns), angles computed in float64.

    Source: Wan-Video/Wan2.1 wan/modules/model.py, rope_params and rope_apply.
    """
    frames, rows, columns = grid
    axes = []
    for axis, (dim, length) in enumerate(zip(axis_dims(head_dim), grid)):
        frequencies = THETA ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
        shape = [1, 1, 1, dim // 2]
        shape[axis] = length
        axes.append(angles.view(shape).expand(frames, rows, columns, -1))
    angles = torch.cat(axes, dim=-1).view(1, frames * rows * columns, 1, -1)
    return Rope(angles.cos().float().to(device), angles.sin().float().to(device))


def rotate(x_BLND: Tensor, rope: Rope) -> Tensor:
    """Turns neighbouring channels (0, 1), (2, 3), ... of float32 heads by their token's angles."""
    even, odd = x_BLND.unflatten(-1, (-1, 2)).unbind(-1)
    turned = (even * rope.cos - odd * rope.sin, even * rope.sin + odd * rope.cos)
    return torch.stack(turned, dim=-1).flatten(-2)
