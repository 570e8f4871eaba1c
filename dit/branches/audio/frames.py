"""Attention of each latent frame's tokens to what is heard in that frame, some frames at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from ....weights.multiplication import multiply
from ...attention import sdpa_attention
from ...block.attention import AttentionLayers
from ...execution import Execution
from ...layers import RMSNorm
from ...tokens import matrix_run, rows_run, update_tokens


def add_to_frames(
    tokens: Tensor, length: int, frames: int, made: Callable[[Tensor, slice], Tensor], execution: Execution
) -> Tensor:
    """Adds to the last tokens what is made of them.

    Args:
        tokens: [B, L, D], which may be overwritten if the execution says so.
        length: how many are added to, of equal `frames`.
        made: gives of the tokens of some frames [B, run, D], which are these, as many.

    Returns:
        [B, L, D] in their dtype.
    """
    video, of_frame = tokens[:, tokens.shape[1] - length :], length // frames
    at_once = max(1, _run(tokens, execution) // (len(tokens) * of_frame))
    added = []
    for start in range(0, frames, at_once):
        part = slice(start, min(start + at_once, frames))
        rows = video[:, part.start * of_frame : part.stop * of_frame]
        seen = made(rows, part)
        if execution.may_overwrite:
            rows.add_(seen)
        else:
            added.append(rows + seen)
    return tokens if execution.may_overwrite else torch.cat([tokens[:, :-length], *added], dim=1)


def look_by_frame(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What tokens make of what is heard in their frames.

    Args:
        queries: [B, T * L, D] of some frames.
        keys, values: [1 or B, T, n, N, D / N] of these.

    Returns:
        [B, T * L, D].
    """
    frames, heads = keys.shape[1], keys.shape[3]
    q = rearrange(queries, "B (T L) (N D) -> (B T) L N D", T=frames, N=heads)
    k, v = (each.expand(len(queries), -1, -1, -1, -1).flatten(0, 1) for each in (keys, values))
    # So few keys are no work for the kernels that a run may choose.
    return rearrange(sdpa_attention(q, k, v), "(B T) L N D -> B (T L) (N D)", T=frames)


class AttentionToFrames(AttentionLayers):
    """Matrices and norms of a look at what is heard in each frame."""

    def keys_and_values(self, heard: Tensor, execution: Execution) -> tuple[Tensor, Tensor]:
        """heard [1 or B, T, n, width] -> twice [1 or B, T, n, N, D / N]."""
        frames, heard = heard.shape[1], heard.flatten(1, 2)
        keys = self.normed(self.norm_k, multiply(self.k, heard, execution.multiply), execution)
        return self._heads(keys, frames), self._heads(multiply(self.v, heard, execution.multiply), frames)

    def normed(self, norm: RMSNorm, x: Tensor, execution: Execution) -> Tensor:
        """x [B, L, D], which may be overwritten if the execution says so -> [B, L, D] in its dtype."""

        def normed(rows: Tensor) -> Tensor:
            return norm(rows).to(rows.dtype)

        return update_tokens(normed, x, run=rows_run(x), may_overwrite=execution.may_overwrite)

    def _heads(self, x: Tensor, frames: int) -> Tensor:
        """[B, T * n, D] -> [B, T, n, N, D / N]."""
        return rearrange(x, "B (T n) (N D) -> B T n N D", T=frames, N=self.heads)


def _run(tokens: Tensor, execution: Execution) -> int:
    """Tokens at a time."""
    return matrix_run(tokens) if execution.lean is None else execution.lean.run
