"""One transformer block: self-attention over the video, cross-attention to text and image, feed-forward."""

from __future__ import annotations

from types import ModuleType

from torch import Tensor, nn

from ...common.initial import scaled_normal
from ...weights.multiplication import MatrixSequence
from ..config import DiTConfig
from ..context import Context
from ..execution import Execution
from ..layers import add, add_gated, affine_norm, modulated_norm
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

        y = modulated_norm(x, scale_1, shift_1, self.eps, runs).to(dtype)
        x = add_gated(x, self._looked_at(y, context, execution), gate_1, runs, may_overwrite=may_overwrite)
        y = affine_norm(x, self.norm3).to(dtype)
        x = add(x, self.cross_attn(y, context, execution), may_overwrite=may_overwrite)
        if heard is not None:
            x = heard.added(self, x, execution)
        x = execution.after_attention(x)
        y = modulated_norm(x, scale_2, shift_2, self.eps, runs).to(dtype)
        y = multiply_tokens(self.ffn, y, execution, run=execution.feed_forward_run)
        return add_gated(x, y, gate_2, runs, may_overwrite=may_overwrite)

    def _looked_at(self, y: Tensor, context: Context, execution: Execution) -> Tensor:
        """What the normed tokens [B, L, D] make of the video, and of the poses of their frames if there are any."""
        posed = context.posed
        if posed is None:
            return self.self_attn(y, context.rope, execution)
        poses = posed.poses
        normed = None if poses is None else normed_poses(poses.tokens, poses, self.modulation, self.eps).to(y.dtype)
        return self.self_attn.look(y, context.rope, posed, normed, execution)
