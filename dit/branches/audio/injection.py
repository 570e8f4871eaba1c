"""Attention of each latent frame's tokens to what is heard then, after they are scaled by it."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ....weights.multiplication import multiply, opened
from ...attention import sdpa_attention
from ...block.attention import AttentionLayers
from ...config import DiTConfig
from ...execution import Execution
from ...layers import RMSNorm, modulated_norm
from ...tokens import matrix_run, rows_run, update_tokens

_SCALE_EPS = 1e-5


class FrameScale(nn.Module):
    """What is heard in each latent frame -> scale and shift of its tokens."""

    def __init__(self, dim: int, operations: ModuleType) -> None:
        super().__init__()
        self.linear = operations.Linear(dim, 2 * dim)

    def forward(self, heard: Tensor, execution: Execution) -> tuple[Tensor, Tensor]:
        """[B, T, D] -> twice [B, T, D], float32."""
        shift, scale = multiply(self.linear, F.silu(heard), execution.multiply).float().chunk(2, dim=-1)
        return scale, shift


class FrameAttention(AttentionLayers):
    """Every token of a latent frame looks at what is heard in that frame."""

    def __init__(self, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__(config, operations)
        self.eps = _SCALE_EPS

    def forward(
        self, tokens: Tensor, length: int, scales: tuple[Tensor, Tensor], heard: Tensor, execution: Execution
    ) -> Tensor:
        """Adds what is heard to the last tokens.

        Args:
            tokens: [B, L, D], which may be overwritten if the execution says so.
            length: how many are those of the video.
            scales: scale and shift [B, T, D] of the frames' tokens.
            heard: [1 or B, T, n, D], in the dtype of computation.

        Returns:
            [B, L, D] in their dtype.
        """
        batch, frames = len(tokens), scales[0].shape[1]
        keys, values = self._keys_and_values(heard, execution)
        q, o = (opened(layer, heard, execution.multiply) for layer in (self.q, self.o))
        video, of_frame = tokens[:, tokens.shape[1] - length :], length // frames
        at_once = max(1, _run(tokens, execution) // (batch * of_frame))
        made = []
        for start in range(0, frames, at_once):
            part = slice(start, min(start + at_once, frames))
            rows = video[:, part.start * of_frame : part.stop * of_frame]
            scale, shift = (each[:, part].expand(batch, -1, -1) for each in scales)
            queries = self._normed(
                self.norm_q, q(modulated_norm(rows, scale, shift, self.eps).to(heard.dtype)), execution
            )
            seen = o(self._looked(queries, keys[:, part], values[:, part]))
            del queries
            if execution.may_overwrite:
                rows.add_(seen)
            else:
                made.append(rows + seen)
        return tokens if execution.may_overwrite else torch.cat([tokens[:, :-length], *made], dim=1)

    def _keys_and_values(self, heard: Tensor, execution: Execution) -> tuple[Tensor, Tensor]:
        """heard [1 or B, T, n, D] -> twice [1 or B, T, n, N, D / N]."""
        frames, heard = heard.shape[1], heard.flatten(1, 2)
        keys = self._normed(self.norm_k, multiply(self.k, heard, execution.multiply), execution)
        return self._heads(keys, frames), self._heads(multiply(self.v, heard, execution.multiply), frames)

    def _looked(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What queries [B, run, D] of some frames make of what is heard in these: [B, run, D]."""
        frames = keys.shape[1]
        k, v = (each.expand(len(queries), -1, -1, -1, -1).flatten(0, 1) for each in (keys, values))
        # So few keys are no work for the kernels that a run may choose.
        out = sdpa_attention(self._heads(queries, frames).flatten(0, 1), k, v)
        return rearrange(out, "(B T) L N D -> B (T L) (N D)", T=frames)

    def _normed(self, norm: RMSNorm, x: Tensor, execution: Execution) -> Tensor:
        def normed(rows: Tensor) -> Tensor:
            return norm(rows).to(rows.dtype)

        return update_tokens(normed, x, run=rows_run(x), may_overwrite=execution.may_overwrite)

    def _heads(self, x: Tensor, frames: int) -> Tensor:
        """[B, T * L, D] -> [B, T, L, N, D / N]."""
        return rearrange(x, "B (T L) (N D) -> B T L N D", T=frames, N=self.heads)


def _run(tokens: Tensor, execution: Execution) -> int:
    """Tokens at a time."""
    return matrix_run(tokens) if execution.lean is None else execution.lean.run
