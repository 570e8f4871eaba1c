"""One transformer block: self-attention over the video, cross-attention to text and image, feed-forward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType

import torch
from einops import rearrange
from torch import Tensor, nn

from ..common.initial import scaled_normal
from ..weights.multiplication import MatrixSequence, multiply
from .config import DiTConfig
from .context import Avoided, Context, SpansInTime
from .execution import Execution
from .layers import RMSNorm, add, add_gated, affine_norm, modulated_norm
from .rope import rotate
from .tokens import matrix_run, rows_run, update_tokens


class SelfAttention(nn.Module):
    """Every token of the video looks at every other."""

    def __init__(self, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.q = operations.Linear(dim, dim)
        self.k = operations.Linear(dim, dim)
        self.v = operations.Linear(dim, dim)
        self.o = operations.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, config.eps)
        self.norm_k = RMSNorm(dim, config.eps)

    def forward(self, x: Tensor, rope: Tensor, execution: Execution) -> Tensor:
        """x [B, L, D], which may be overwritten if the execution says so -> [B, L, D]."""
        q = self._rotated(self.norm_q, multiply(self.q, x, execution.multiply), rope, execution)
        k = self._rotated(self.norm_k, multiply(self.k, x, execution.multiply), rope, execution)
        v = _multiply_tokens(self.v, x, execution)
        heads = (rearrange(part, "B L (N D) -> B L N D", N=self.heads) for part in (q, k, v))
        out = execution.attention(*heads).flatten(2)
        del q, k, v
        return _multiply_tokens(self.o, out, execution)

    def _rotated(self, norm: RMSNorm, x: Tensor, rope: Tensor, execution: Execution) -> Tensor:
        def normed_and_rotated(x: Tensor, rope: Tensor) -> Tensor:
            heads = rearrange(norm(x), "B L (N D) -> B L N D", N=self.heads)  # float32
            return rotate(heads, rope).flatten(2).to(x.dtype)

        return update_tokens(normed_and_rotated, x, rope, run=rows_run(x), may_overwrite=execution.may_overwrite)


class CrossAttention(nn.Module):
    """Every token of the video looks at the prompt and, in models with a branch that gives any, at picture tokens."""

    def __init__(self, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
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

    def forward(self, x: Tensor, context: Context, execution: Execution) -> Tensor:
        """x [B, L, D] -> [B, L, D]."""

        def normed(layer: nn.Module, norm: RMSNorm, shown: Tensor) -> Tensor:
            return self._normed(norm, multiply(layer, shown, execution.multiply), execution)

        def plain(layer: nn.Module, shown: Tensor) -> Tensor:
            return self._heads(multiply(layer, shown, execution.multiply))

        def shown(text: Tensor) -> tuple[Tensor, Tensor]:
            return normed(self.k, self.norm_k, text), plain(self.v, text)

        q = normed(self.q, self.norm_q, x)
        if context.in_time is None:
            out = execution.attention(q, *shown(context.text))
        else:
            out = _seen_in_time(q, context.in_time, shown, execution)
        if context.avoided is not None:
            out = _led_away(out, q, shown(context.avoided.text), context.avoided, execution)
        image = context.image
        if image is not None:
            k_img = normed(self.k_img, self.norm_k_img, image)
            seen = execution.attention(q, k_img, plain(self.v_img, image))
            out = add(out, seen, may_overwrite=execution.may_overwrite)
            del seen
        del q
        out = out.flatten(2)
        return _multiply_tokens(self.o, out, execution)

    def _normed(self, norm: RMSNorm, x: Tensor, execution: Execution) -> Tensor:
        def normed(rows: Tensor) -> Tensor:
            return norm(rows).to(rows.dtype)

        return self._heads(update_tokens(normed, x, run=rows_run(x), may_overwrite=execution.may_overwrite))

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "B L (N D) -> B L N D", N=self.heads)


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

    def forward(self, x: Tensor, context: Context, execution: Execution) -> Tensor:
        """x [B, L, D], which may be overwritten if the execution says so -> [B, L, D] in x's dtype.

        Matrices are multiplied in the dtype of `context.text`.
        """
        dtype, may_overwrite = context.text.dtype, execution.may_overwrite
        modulation = self.modulation.float() + context.modulation
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.unbind(2)  # each [B, G, D]

        y = modulated_norm(x, scale_1, shift_1, self.eps).to(dtype)
        x = add_gated(x, self.self_attn(y, context.rope, execution), gate_1, may_overwrite=may_overwrite)
        y = affine_norm(x, self.norm3).to(dtype)
        x = add(x, self.cross_attn(y, context, execution), may_overwrite=may_overwrite)
        x = execution.after_attention(x)
        y = modulated_norm(x, scale_2, shift_2, self.eps).to(dtype)
        y = _multiply_tokens(self.ffn, y, execution, run=execution.feed_forward_run)
        return add_gated(x, y, gate_2, may_overwrite=may_overwrite)


def _led_away(
    wanted: Tensor, q: Tensor, shown: tuple[Tensor, Tensor], avoided: Avoided, execution: Execution
) -> Tensor:
    """What attention [B, L, N, D] makes of the prompt, led away from what it makes of another text; see `Avoided`.

    That is asked for a run of tokens at a time, so that a block holds no more than without it.

    Args:
        shown: keys and values of the other text.
    """

    def led(wanted: Tensor, q: Tensor) -> Tensor:
        far = execution.attention(q, *shown).flatten(2).float()
        near = wanted.flatten(2).float()
        guided = torch.lerp(far, near, avoided.scale)  # scale * near - (scale - 1) * far
        del far
        length = guided.norm(p=1, dim=-1, keepdim=True)
        most = avoided.tau * near.norm(p=1, dim=-1, keepdim=True)
        guided = guided * torch.where(length > most, most / length, 1.0)
        mixed = torch.lerp(near, guided, avoided.alpha)
        del near, guided
        return mixed.to(wanted.dtype).view_as(wanted)

    run = rows_run(wanted.flatten(2))
    return update_tokens(led, wanted, q, run=run, may_overwrite=execution.may_overwrite)


def _seen_in_time(
    q: Tensor, texts: SpansInTime, shown: Callable[[Tensor], tuple[Tensor, Tensor]], execution: Execution
) -> Tensor:
    """What attention makes of each frame's texts, mixed by their shares: q [B, L, N, D] -> [B, L, N, D].

    Args:
        shown: keys and values of a text.
    """
    out = torch.zeros_like(q)
    tokens = q.shape[1] // texts.frames  # of a frame
    for text, start, stop, shares in texts.spans:
        part = slice(start * tokens, stop * tokens)
        seen = execution.attention(q[:, part], *shown(text))
        if shares is not None:
            of_frames, shares = seen.unflatten(1, (stop - start, tokens)), shares.to(seen.dtype)
            mixed = of_frames.mul_(shares) if execution.may_overwrite else of_frames * shares
            seen = mixed.flatten(1, 2)
            del of_frames, mixed
        out[:, part] += seen
        del seen  # before the next text is looked at
    return out


def _multiply_tokens(layer: nn.Module, x: Tensor, execution: Execution, *, run: int = 0) -> Tensor:
    """x [B, L, D], which may be overwritten if the execution says so -> [B, L, D]; `run` tokens at a time, if given."""
    multiplied = partial(multiply, layer, how=execution.multiply)
    return update_tokens(multiplied, x, run=run or matrix_run(x), may_overwrite=execution.may_overwrite)
