"""Attention of each latent frame's tokens to what is heard then, after they are scaled by it."""

from __future__ import annotations

from types import ModuleType

import torch.nn.functional as F
from torch import Tensor, nn

from ....weights.multiplication import multiply, opened
from ...config import DiTConfig
from ...execution import Execution
from ...layers import modulated_norm
from .frames import AttentionToFrames, add_to_frames, look_by_frame

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


class FrameAttention(AttentionToFrames):
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
        keys, values = self.keys_and_values(heard, execution)
        q, o = (opened(layer, heard, execution.multiply) for layer in (self.q, self.o))

        def made(rows: Tensor, part: slice) -> Tensor:
            scale, shift = (each[:, part].expand(batch, -1, -1) for each in scales)
            queries = q(modulated_norm(rows, scale, shift, self.eps).to(heard.dtype))
            queries = self.normed(self.norm_q, queries, execution)
            return o(look_by_frame(queries, keys[:, part], values[:, part]))

        return add_to_frames(tokens, length, frames, made, execution)
