"""A block that keeps almost nothing beside its tokens: runs of tokens, and groups of heads one after the other.

The normed tokens are never kept: they are made again, a run at a time, for every matrix that takes them. Queries are
kept whole, since their norm looks at all heads, and each group of heads writes its result in the place of its queries.
Everything behind the attention of the video to itself goes a run at a time straight into the tokens.

Suffixes: B batch, L tokens, D width, W width of some heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...weights.layers import ALL_ROWS, Opened
from ...weights.multiplication import MatrixSequence, multiply, opened
from ..context import Context, Posed
from ..execution import Execution, Lean
from ..layers import RMSNorm, add_gated, affine_norm, modulated_norm
from ..rope import rotate
from ..tokens import LEAN_PARTS, rows_run, update_tokens
from .attention import CrossAttention, SelfAttention, Sight
from .posed import KeysAndValues, look_posed, normed_poses, weighed, with_room

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

    def get_submodule(self, target: str) -> nn.Module:
        """A layer by its name."""
        ...


def lean_pass(block: Layers, x: Tensor, context: Context, execution: Execution, lean: Lean) -> Tensor:
    """What `Block.forward` gives, written into x [B, L, D].

    The same sums in the same order, but that a kernel may take another one for fewer rows or columns of a matrix; the
    results then differ by rounding.
    """
    text, how, heard = context.text, execution.multiply, context.heard
    if heard is not None:
        heard, execution = heard.begin(execution)
    modulation = block.modulation.float() + context.modulation
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.unbind(2)  # each [B, G, D]
    groups = modulation.shape[1]
    runs = context.runs or (x.shape[1] // groups,) * groups

    def before_attention(part: slice) -> Tensor:
        return _modulated(x, part, scale_1, shift_1, block.eps, runs).to(text.dtype)

    def before_feed_forward(part: slice) -> Tensor:
        return _modulated(x, part, scale_2, shift_2, block.eps, runs).to(text.dtype)

    seen = _look_at_video(block, before_attention, x, context, execution, lean)
    matrix = opened(block.self_attn.o, text, how)
    for part in _runs(x, lean.run):
        _add_gated(x, part, matrix(seen[:, part]), gate_1, runs)
    del seen, matrix
    _look_at_context(block, x, context, execution, lean)
    if heard is not None:
        x = heard.added(block, x, execution)
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
        sight = Sight(*context.whole_of(part, length), see, q, o)
        x[:, part].add_(cross.look(y, sight, context, execution))


def head_groups(heads: int, width: int, groups: int) -> list[slice]:
    """The columns of each of so many groups of heads, as equal as they can be."""
    bounds = [number * heads // groups * (width // heads) for number in range(groups + 1)]
    return [slice(start, stop) for start, stop in zip(bounds, bounds[1:])]


class _Looked(NamedTuple):
    """Tokens that self-attention makes queries, keys and values of, a run at a time.

    `tokens` [B, L, D] for their size; `normed` as the matrices take them; `rope` [1, L, 1, P].
    """

    attn: SelfAttention
    tokens: Tensor
    normed: Normed
    rope: Tensor
    like: Tensor
    execution: Execution
    lean: Lean

    def made(self, layer: nn.Module, columns: slice, finish: Finish | None = None) -> Tensor:
        """[B, L, W] of all tokens."""
        whole, matrix = None, opened(layer, self.like, self.execution.multiply, columns)
        runs = list(_runs(self.tokens, self.lean.run))
        for part in runs:
            values = matrix(self.normed(part))
            if finish is not None:
                values = finish(values, part)
            if len(runs) == 1:
                return values
            if whole is None:
                whole = values.new_empty(*self.tokens.shape[:2], values.shape[2])
            whole[:, part] = values
            del values  # before the next run is normed
        assert whole is not None, "there are tokens"
        return whole

    def normed_heads(self, layer: nn.Module, norm: RMSNorm) -> Tensor:
        """Queries or keys of all heads, [B, L, D]."""

        def finish(values: Tensor, part: slice) -> Tensor:
            return self.attn.rotated(norm, values, self.rope[:, part], self.execution, _rows_run(values))

        return self.made(layer, ALL_ROWS, finish)

    def keys(self) -> _Keys:
        """The keys, or what they are made by in groups."""
        attn = self.attn
        if not self.lean.keys_in_groups:
            return _Keys(self, whole=self.normed_heads(attn.k, attn.norm_k))
        matrix = opened(attn.k, self.like, self.execution.multiply)
        return _Keys(self, lengths=_key_lengths(attn.norm_k, matrix, self.normed, self.tokens, self.lean))

    def values(self, columns: slice) -> Tensor:
        """[B, L, W] of some heads."""
        return self.made(self.attn.v, columns)


class _Keys(NamedTuple):
    """Keys of all heads, or only the lengths by which those of a group are made."""

    of: _Looked
    whole: Tensor | None = None
    lengths: Tensor | None = None

    def of_heads(self, columns: slice, head_dim: int) -> Tensor:
        """[B, L, W] of some heads."""
        if self.whole is not None:
            return self.whole[:, :, columns]
        assert self.lengths is not None, "either the keys are there or their lengths"
        attn, rope = self.of.attn, self.of.rope
        finish = _with_known_lengths(self.lengths, attn.norm_k.weight[columns], rope, head_dim)
        return self.of.made(attn.k, columns, finish)


def _look_at_video(
    block: Layers, normed: Normed, x: Tensor, context: Context, execution: Execution, lean: Lean
) -> Tensor:
    """What self-attention gives before its last matrix, [B, L, D] in the dtype of computation."""
    attn, width, like = block.self_attn, x.shape[-1], context.text
    head_dim = width // attn.heads
    video = _Looked(attn, x, normed, context.rope, like, execution, lean)
    poses = _poses(block, context, execution, lean)
    shown = None if poses is None else poses.keys()
    keys, queries = video.keys(), video.normed_heads(attn.q, attn.norm_q)
    for columns in head_groups(attn.heads, width, lean.groups):
        q = queries[:, :, columns]
        k, v = keys.of_heads(columns, head_dim), video.values(columns)
        if context.posed is not None:
            v = weighed(v, context.posed, may_overwrite=True)
            k, v = (with_room(each, context.posed) for each in (k, v))
        heads = (each.unflatten(-1, (-1, head_dim)) for each in (q, k, v))
        if context.posed is None:
            numbers = slice(columns.start // head_dim, columns.stop // head_dim)
            q.copy_(execution.attend_video(*heads, heads=numbers).flatten(2))
        else:
            of_poses = None if shown is None else _of_heads(shown, columns, head_dim, context.posed)
            q.copy_(look_posed(*heads, of_poses, context.posed, execution).flatten(2))
            del of_poses
        del k, v
    return queries


def _of_heads(poses: _Keys, columns: slice, head_dim: int, posed: Posed) -> KeysAndValues:
    """Keys and values of poses for some heads, each [1 or B, L less a frame, N, head_dim]."""
    keys, values = poses.of_heads(columns, head_dim), poses.of.values(columns)
    if posed.poses is not None and posed.poses.strength != 1.0:
        values.mul_(posed.poses.strength)
    keys, values = (each.unflatten(-1, (-1, head_dim)) for each in (keys, values))
    return keys, values


def _poses(block: Layers, context: Context, execution: Execution, lean: Lean) -> _Looked | None:
    """The tokens of poses, if there are any."""
    poses = None if context.posed is None else context.posed.poses
    if poses is None:
        return None

    def normed(part: slice) -> Tensor:
        return normed_poses(poses.tokens[:, part], poses, block.modulation, block.eps).to(context.text.dtype)

    return _Looked(block.self_attn, poses.tokens, normed, poses.rope, context.text, execution, lean)


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
