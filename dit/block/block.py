"""One transformer block: self-attention over the video, cross-attention to text and image, feed-forward."""

from __future__ import annotations

from functools import partial
from types import ModuleType

from torch import Tensor, nn

from ...common.initial import scaled_normal
from ...weights.multiplication import MatrixSequence, multiply
from ..config import DiTConfig
from ..context import Context
from ..execution import Execution
from ..layers import add, add_gated, affine_norm, modulated_norm
from ..tokens import matrix_run
from .attention import CrossAttention, SelfAttention, multiply_tokens
from .lean import lean_pass
from .posed import normed_poses


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, the first and last scaled and gated by the timestep."""

    def __init__(self, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__()
        dim = config.dim
        self.eps = config.eps
        self.self_attn = SelfAttention(config, operations)
        self.norm3 = operations.LayerNorm(dim, eps=config.eps)
        self.cross_attn = CrossAttention(config, operations)
        self.ffn = MatrixSequence(
            operations.Linear(dim, config.ffn_dim), nn.GELU(approximate="tanh"), operations.Linear(config.ffn_dim, dim)
        )
        self.modulation = nn.Parameter(scaled_normal(1, 6, dim, width=dim))
        for branch in config.branches:
            for name, module in branch.inside(config, operations).items():
                self.add_module(name, module)

    def forward(self, x: Tensor, context: Context, execution: Execution) -> Tensor:
        """x [B, L, D], which may be overwritten if the execution says so -> [B, L, D] in x's dtype.

        Matrices are multiplied in the dtype of `context.text`.
        """
        if execution.lean is not None:
            return lean_pass(self, x, context, execution, execution.lean)
        dtype, may_overwrite, runs = context.text.dtype, execution.may_overwrite, context.runs
        heard = context.heard
        if heard is not None:
            heard, execution = heard.begin(execution)
        modulation = self.modulation.float() + context.modulation
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.unbind(2)  # each [B, G, D]

        seen = execution.run_part(self, self._see_video, x, scale_1, shift_1, context, execution)
        x = add_gated(x, seen, gate_1, runs, may_overwrite=may_overwrite)
        del seen
        x = add(x, execution.run_part(self, self._see_context, x, context, execution), may_overwrite=may_overwrite)
        if heard is not None:
            x = heard.added(self, x, execution)
        x = execution.after_attention(x)
        y = modulated_norm(x, scale_2, shift_2, self.eps, runs).to(dtype)
        return add_gated(x, self._feed_forward(y, execution), gate_2, runs, may_overwrite=may_overwrite)

    def _see_video(self, x: Tensor, scale: Tensor, shift: Tensor, context: Context, execution: Execution) -> Tensor:
        """What attention makes of the tokens [B, L, D] and those of the whole video: [B, L, D]."""
        y = modulated_norm(x, scale, shift, self.eps, context.runs).to(context.text.dtype)
        return self._looked_at(y, context, execution)

    def _see_context(self, x: Tensor, context: Context, execution: Execution) -> Tensor:
        """What attention makes of the tokens [B, L, D] and what the context shows: [B, L, D]."""
        return self.cross_attn(affine_norm(x, self.norm3).to(context.text.dtype), context, execution)

    def _feed_forward(self, y: Tensor, execution: Execution) -> Tensor:
        """What the wide layers make of tokens [B, L, D], which may be overwritten if the execution says so."""
        run = execution.feed_forward_run
        if execution.checkpoints:
            multiplied = partial(multiply, self.ffn, how=execution.multiply)
            return execution.run_in_parts(self.ffn, multiplied, y, run=run or matrix_run(y))
        return multiply_tokens(self.ffn, y, execution, run=run)

    def _looked_at(self, y: Tensor, context: Context, execution: Execution) -> Tensor:
        """What the normed tokens [B, L, D] make of the video, and of the poses of their frames if there are any."""
        posed = context.posed
        if posed is None:
            return self.self_attn(y, context.rope, execution)
        poses = posed.poses
        normed = None if poses is None else normed_poses(poses.tokens, poses, self.modulation, self.eps).to(y.dtype)
        return self.self_attn.look(y, context.rope, posed, normed, execution)
