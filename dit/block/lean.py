"""A block that keeps almost nothing beside its tokens: runs of tokens, and groups of heads one after the other.

The normed tokens are never kept: they are made again, a run at a time, for every matrix that takes them. Queries are
kept whole, since their norm looks at all heads, and each group of heads writes its result in the place of its queries.
Everything behind the attention of the video to itself goes a run at a time straight into the tokens.

Suffixes: B batch, L tokens, D width, W width of some heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Protocol

import torch
from torch import Tensor, nn

from ...weights.layers import ALL_ROWS, Opened
from ...weights.multiplication import MatrixSequence, multiply, opened
from ..context import Context
from ..execution import Execution, Lean
from ..layers import RMSNorm, add_gated, affine_norm, modulated_norm
from ..rope import rotate
from ..tokens import LEAN_PARTS, rows_run, update_tokens
from .attention import CrossAttention, SelfAttention, Sight

_REMEMBERED = 3
"""Keys and values that runs of tokens share: of a text, of one that is avoided, of a picture."""

Normed = Callable[[slice], Tensor]
"""Gives a run of the normed tokens, [B, run, D], in the dtype of computation."""

Finish = Callable[[Tensor, slice], Tensor]
"""Makes queries or keys of what their matrix gives for a run, [B, run, W], which it may overwrite."""


class Layers(Protocol):
    """Those of a block."""

    eps: float
    modulation: nn.Parameter
    self_attn: SelfAttention
    norm3: nn.LayerNorm
    cross_attn: CrossAttention
    ffn: MatrixSequence


def lean_pass(block: Layers, x: Tensor, context: Context, execution: Execution, lean: Lean) -> Tensor:
    """What `Block.forward` gives, written into x [B, L, D].

    The same sums in the same order, but that a kernel may take another one for fewer rows or columns of a matrix; the
    results then differ by rounding.
    """
    text, how = context.text, execution.multiply
    modulation = block.modulation.float() + context.modulation
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.unbind(2)  # each [B, G, D]
    groups = modulation.shape[1]
    runs = context.runs or (x.shape[1] // groups,) * groups

    def before_attention(part: slice) -> Tensor:
        return _modulated(x, part, scale_1, shift_1, block.eps, runs).to(text.dtype)

    def before_feed_forward(part: slice) -> Tensor:
        return _modulated(x, part, scale_2, shift_2, block.eps, runs).to(text.dtype)

    seen = _look_at_video(block.self_attn, before_attention, x, context, execution, lean)
    matrix = opened(block.self_attn.o, text, how)
    for part in _runs(x, lean.run):
        _add_gated(x, part, matrix(seen[:, part]), gate_1, runs)
    del seen, matrix
    _look_at_context(block, x, context, execution, lean)
    x = execution.after_attention(x)
    matrix = partial(multiply, block.ffn, how=how) if lean.keys_in_groups else opened(block.ffn, text, how)
    run = lean.run if execution.feed_forward_run == 0 else min(lean.run, execution.feed_forward_run)
    for part in _runs(x, run):
        _add_gated(x, part, matrix(before_feed_forward(part)), gate_2, runs)
    return x


def _look_at_context(block: Layers, x: Tensor, context: Context, execution: Execution, lean: Lean) -> None:
    """Adds to x [B, L, D] what its tokens make of text and picture."""
    cross, like, how, length = block.cross_attn, context.text, execution.multiply, x.shape[1]
    see = lru_cache(maxsize=_REMEMBERED)(partial(cross.keys_and_values, execution))
    q, o = opened(cross.q, like, how), opened(cross.o, like, how)
    for part in _runs(x, lean.run):
        y = affine_norm(x[:, part], block.norm3).to(like.dtype)
        sight = Sight(range(part.start, part.stop), length, see, q, o)
        x[:, part].add_(cross.look(y, sight, context, execution))


def head_groups(heads: int, width: int, groups: int) -> list[slice]:
    """The columns of each of so many groups of heads, as equal as they can be."""
    bounds = [number * heads // groups * (width // heads) for number in range(groups + 1)]
    return [slice(start, stop) for start, stop in zip(bounds, bounds[1:])]


def _look_at_video(
    attn: SelfAttention, normed: Normed, x: Tensor, context: Context, execution: Execution, lean: Lean
) -> Tensor:
    """What self-attention gives before its last matrix, [B, L, D] in the dtype of computation."""
    how, runs, width = execution.multiply, list(_runs(x, lean.run)), x.shape[-1]
    head_dim, like, rope = width // attn.heads, context.text, context.rope

    def made(layer: nn.Module, columns: slice, finish: Finish | None = None) -> Tensor:
        """[B, L, W] of all tokens."""
        whole, matrix = None, opened(layer, like, how, columns)
        for part in runs:
            values = matrix(normed(part))
            if finish is not None:
                values = finish(values, part)
            if len(runs) == 1:
                return values
            if whole is None:
                whole = values.new_empty(*x.shape[:2], values.shape[2])
            whole[:, part] = values
            del values  # before the next run is normed
        assert whole is not None, "there are tokens"
        return whole

    def with_norm(norm: RMSNorm) -> Finish:
        return lambda values, part: attn.rotated(norm, values, rope[:, part], execution, _rows_run(values))

    lengths = _key_lengths(attn.norm_k, opened(attn.k, like, how), normed, x, lean) if lean.keys_in_groups else None
    queries = made(attn.q, ALL_ROWS, with_norm(attn.norm_q))
    keys = made(attn.k, ALL_ROWS, with_norm(attn.norm_k)) if lengths is None else None
    for columns in head_groups(attn.heads, width, lean.groups):
        if keys is not None:
            k = keys[:, :, columns]
        else:
            assert lengths is not None, "either the keys are there or their lengths"
            k = made(attn.k, columns, _with_known_lengths(lengths, attn.norm_k.weight[columns], rope, head_dim))
        v = made(attn.v, columns)
        q = queries[:, :, columns]
        heads = (each.unflatten(-1, (-1, head_dim)) for each in (q, k, v))
        q.copy_(execution.video_attention(*heads).flatten(2))
        del k, v
    return queries


def _key_lengths(norm: RMSNorm, matrix: Opened, normed: Normed, x: Tensor, lean: Lean) -> Tensor:
    """What the norm of the keys multiplies each token by, [B, L, 1] float32, from keys that are dropped again."""
    lengths = torch.empty(*x.shape[:2], 1, dtype=torch.float32, device=x.device)
    for part in _runs(x, lean.run):
        keys = matrix(normed(part))
        for rows in _runs(keys, _rows_run(keys)):
            squares = keys[:, rows].float().pow_(2).mean(-1, keepdim=True)
            lengths[:, part][:, rows] = squares.add_(norm.eps).rsqrt_()
        del keys  # before the next run is normed
    return lengths


def _with_known_lengths(lengths: Tensor, weight: Tensor, rope: Tensor, head_dim: int) -> Finish:
    """Norms and turns the keys of some heads, as their norm does that looks at all of them."""

    def finished(values: Tensor, lengths: Tensor, rope: Tensor) -> Tensor:
        normed = values.float().mul_(lengths).mul_(weight.float())
        return rotate(normed.unflatten(-1, (-1, head_dim)), rope).flatten(2).to(values.dtype)

    def finish(values: Tensor, part: slice) -> Tensor:
        run = _rows_run(values)
        return update_tokens(finished, values, lengths[:, part], rope[:, part], run=run, may_overwrite=True)

    return finish


def _rows_run(x: Tensor) -> int:
    """Tokens of a run at a time for element-wise work in float32: fewer, as there is less beside it."""
    return max(1, rows_run(x) // LEAN_PARTS) if x.device.type != "cpu" else rows_run(x)


def _runs(x: Tensor, run: int) -> Iterator[slice]:
    """The tokens of x [B, L, D], `run` of all sequences at a time."""
    length, step = x.shape[1], max(1, run // x.shape[0])
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _modulated(x: Tensor, part: slice, scale: Tensor, shift: Tensor, eps: float, runs: tuple[int, ...]) -> Tensor:
    """`modulated_norm` of a run of x [B, L, D], which need not begin where a row of scale [B, G, D] does."""
    pieces = [
        modulated_norm(x[:, piece], scale[:, group, None], shift[:, group, None], eps)
        for group, piece in _pieces(part, runs)
    ]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


def _add_gated(x: Tensor, part: slice, y: Tensor, gate: Tensor, runs: tuple[int, ...]) -> None:
    """Adds y [B, run, D] to a run of x, as `add_gated` does."""
    for group, piece in _pieces(part, runs):
        of_run = slice(piece.start - part.start, piece.stop - part.start)
        add_gated(x[:, piece], y[:, of_run], gate[:, group, None], may_overwrite=True)


def _pieces(part: slice, runs: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
    """A run of tokens, cut where another group of them begins, of these lengths; each with its group."""
    start = 0
    for group, length in enumerate(runs):
        stop = start + length
        if start < part.stop and stop > part.start:
            yield group, slice(max(part.start, start), min(part.stop, stop))
        start = stop
