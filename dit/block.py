"""One transformer block: self-attention over the video, cross-attention to text and image, feed-forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from torch import Tensor, nn

from ..common.initial import scaled_normal
from .attention import Attention
from .config import DiTConfig
from .context import Context
from .layers import RMSNorm, add, add_gated, affine_norm, modulated_norm
from .rope import rotate
from .tokens import matrix_run, rows_run, update_tokens


class SelfAttention(nn.Module):
    """Every token of the video looks at every other."""

    def __init__(self, config: DiTConfig, operations: ModuleType, attention: Attention) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.attention = attention
        self.q = operations.Linear(dim, dim)
        self.k = operations.Linear(dim, dim)
        self.v = operations.Linear(dim, dim)
        self.o = operations.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, config.eps)
        self.norm_k = RMSNorm(dim, config.eps)

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        """x [B, L, D] -> [B, L, D]; with autograd off, x is overwritten."""
        q = self._rotated(self.norm_q, self.q(x), rope)
        k = self._rotated(self.norm_k, self.k(x), rope)
        v = update_tokens(self.v, x, run=matrix_run(x))
        out = self.attention(*(part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))).flatten(2)
        del q, k, v
        return update_tokens(self.o, out, run=matrix_run(out))

    def _rotated(self, norm: RMSNorm, x: Tensor, rope: Tensor) -> Tensor:
        def normed_and_rotated(x: Tensor, rope: Tensor) -> Tensor:
            heads = norm(x).unflatten(-1, (self.heads, -1))  # [B, L, N, head_dim], float32
            return rotate(heads, rope).flatten(2).to(x.dtype)

        return update_tokens(normed_and_rotated, x, rope, run=rows_run(x))


class CrossAttention(nn.Module):
    """Every token of the video looks at the prompt and, in models with a branch that gives any, at picture tokens."""

    def __init__(self, config: DiTConfig, operations: ModuleType, attention: Attention) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.attention = attention
        self.q = operations.Linear(dim, dim)
        self.k = operations.Linear(dim, dim)
        self.v = operations.Linear(dim, dim)
        self.o = operations.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, config.eps)
        self.norm_k = RMSNorm(dim, config.eps)
        if config.image_tokens:
            self.k_img = operations.Linear(dim, dim)
            self.v_img = operations.Linear(dim, dim)
            self.norm_k_img = RMSNorm(dim, config.eps)

    def forward(self, x: Tensor, text: Tensor, image: Tensor | None) -> Tensor:
        """x [B, L, D], text and image [B, tokens, D] -> [B, L, D]."""
        q = self._normed(self.norm_q, self.q(x))
        out = self.attention(q, self._normed(self.norm_k, self.k(text)), self._heads(self.v(text)))
        if image is not None:
            k_img = self._normed(self.norm_k_img, self.k_img(image))
            out = add(out, self.attention(q, k_img, self._heads(self.v_img(image))))
        del q
        out = out.flatten(2)
        return update_tokens(self.o, out, run=matrix_run(out))

    def _normed(self, norm: RMSNorm, x: Tensor) -> Tensor:
        return self._heads(update_tokens(lambda rows: norm(rows).to(rows.dtype), x, run=rows_run(x)))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))  # [B, L, N, head_dim]


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, the first and last scaled and gated by the timestep.

    `feed_forward_run`: tokens that the feed-forward layers take at a time, 0 for the usual number.
    """

    def __init__(self, config: DiTConfig, operations: ModuleType, attention: Attention) -> None:
        super().__init__()
        dim = config.dim
        self.eps = config.eps
        self.feed_forward_run = 0
        self.self_attn = SelfAttention(config, operations, attention)
        self.norm3 = operations.LayerNorm(dim, eps=config.eps)
        self.cross_attn = CrossAttention(config, operations, attention)
        self.ffn = nn.Sequential(
            operations.Linear(dim, config.ffn_dim), nn.GELU(approximate="tanh"), operations.Linear(config.ffn_dim, dim)
        )
        self.modulation = nn.Parameter(scaled_normal(1, 6, dim, width=dim))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x [B, L, D] -> [B, L, D] in x's dtype; matrices are multiplied in the dtype of `context.text`.

        With autograd off, x is overwritten.
        """
        dtype = context.text.dtype
        modulation = self.modulation.float() + context.modulation
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.unbind(2)  # each [B, G, D]

        y = modulated_norm(x, scale_1, shift_1, self.eps).to(dtype)
        x = add_gated(x, self.self_attn(y, context.rope), gate_1)
        y = affine_norm(x, self.norm3).to(dtype)
        x = add(x, self.cross_attn(y, context.text, context.image))
        y = modulated_norm(x, scale_2, shift_2, self.eps).to(dtype)
        run = self.feed_forward_run or matrix_run(y)
        return add_gated(x, update_tokens(self.ffn, y, run=run), gate_2)


@contextmanager
def feeding_forward(model: nn.Module, run: int) -> Iterator[None]:
    """A model whose blocks' feed-forward layers take `run` tokens at a time, for the time of the context.

    What lies between those layers is several times as wide as the tokens; shorter runs keep it small. 0: the usual run.
    """
    blocks = [block for block in model.modules() if isinstance(block, Block)]
    usual = [block.feed_forward_run for block in blocks]
    try:
        for block in blocks:
            block.feed_forward_run = run
        yield
    finally:
        for block, own in zip(blocks, usual):
            block.feed_forward_run = own
