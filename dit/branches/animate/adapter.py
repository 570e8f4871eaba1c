"""Blocks in which the tokens of each latent frame look at the face of that time."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ....weights.layers import Opened
from ....weights.multiplication import opened
from ...config import DiTConfig
from ...execution import Execution
from ...layers import RMSNorm
from ...tokens import MATRIX_RUN, rows_run, update_tokens


class FaceAdapter(nn.Module):
    """The blocks, by their official names."""

    def __init__(self, blocks: int, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__()
        self.fuser_blocks = nn.ModuleList(FuserBlock(config, operations) for _ in range(blocks))


class FuserBlock(nn.Module):
    """Attention of each latent frame's tokens to the few of its face, with norms over each head."""

    def __init__(self, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__()
        dim = config.dim
        self.heads, self.eps = config.heads, config.eps
        self.linear1_kv = operations.Linear(dim, 2 * dim)
        self.linear1_q = operations.Linear(dim, dim)
        self.linear2 = operations.Linear(dim, dim)
        self.q_norm = RMSNorm(config.head_dim, config.eps)
        self.k_norm = RMSNorm(config.head_dim, config.eps)

    def forward(self, x: Tensor, faces: Tensor, execution: Execution) -> Tensor:
        """x [B, L, D] of T equal frames, which may be overwritten if the execution says so; faces [1 or B, T, N, D].

        Some frames at a time, so that it takes less than any block of the trunk: the tokens of a frame look at nothing
        of the others.
        """
        frames, how = faces.shape[1], execution.multiply
        shown = opened(self.linear1_kv, faces, how)(self._normed(faces))  # [1 or B, T, N, 2 * D]
        keys, values = rearrange(shown, "B T N (two H D) -> two B T N H D", two=2, H=self.heads)
        keys = self.k_norm(keys).to(faces.dtype)
        q, o = opened(self.linear1_q, faces, how), opened(self.linear2, faces, how)
        of_frame = x.shape[1] // frames
        step = max(1, MATRIX_RUN // (2 * len(x) * of_frame))
        parts = []
        for start in range(0, frames, step):
            rows = slice(start * of_frame, min(start + step, frames) * of_frame)
            seen = self._look(x[:, rows], q, keys[:, start : start + step], values[:, start : start + step], execution)
            if execution.may_overwrite:
                x[:, rows].add_(o(seen))
            else:
                parts.append(x[:, rows] + o(seen))
            del seen
        return torch.cat(parts, dim=1) if parts else x

    def _look(self, x: Tensor, matrix: Opened, keys: Tensor, values: Tensor, execution: Execution) -> Tensor:
        """What the tokens x [B, n * S, D] of n frames make of the keys and values [1 or B, n, N, H, D / H] of these."""
        batch, frames = len(x), keys.shape[1]
        q = matrix(self._normed(x).to(values.dtype))
        q = update_tokens(self._normed_heads, q, run=rows_run(q), may_overwrite=execution.may_overwrite)
        q = rearrange(q, "B (n S) (H D) -> (B n) S H D", n=frames, H=self.heads)
        shown = (each.expand(batch, *each.shape[1:]).flatten(0, 1) for each in (keys, values))
        return rearrange(execution.attention(q, *shown), "(B n) S H D -> B (n S) (H D)", B=batch)

    def _normed_heads(self, q: Tensor) -> Tensor:
        return self.q_norm(q.unflatten(-1, (self.heads, -1))).flatten(-2).to(q.dtype)

    def _normed(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps)
