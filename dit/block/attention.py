"""What the tokens of a block look at: all of the video, and text and picture."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import NamedTuple, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from ...weights.layers import Opened
from ...weights.multiplication import multiply
from ..config import DiTConfig
from ..context import Avoided, Context, Posed, PoseTokens, SpansInTime
from ..execution import Execution
from ..layers import RMSNorm, add
from ..rope import rotate
from ..tokens import matrix_run, rows_run, update_tokens
from .posed import KeysAndValues, look_posed, weighed, with_room


class See(Protocol):
    """Gives keys and values of a text or a picture, see `CrossAttention.keys_and_values`."""

    def __call__(self, shown: Tensor, *, is_image: bool = False) -> KeysAndValues: ...


class Sight(NamedTuple):
    """Which tokens look, the ones in `part` of `length` in all; at what; and by which matrices."""

    part: range
    length: int
    see: See
    q: Opened
    o: Opened


class AttentionLayers(nn.Module):
    """What every attention of a block has: four matrices, and norms of queries and keys over all heads."""

    def __init__(self, config: DiTConfig, operations: ModuleType, shown: int | None = None) -> None:
        """`shown`: the width of what is looked at, where that is not the tokens'."""
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.q = operations.Linear(dim, dim)
        self.k = operations.Linear(shown or dim, dim)
        self.v = operations.Linear(shown or dim, dim)
        self.o = operations.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, config.eps)
        self.norm_k = RMSNorm(dim, config.eps)


class SelfAttention(AttentionLayers):
    """Every token of the video looks at every other, or as the execution says."""

    def forward(self, x: Tensor, rope: Tensor, execution: Execution) -> Tensor:
        """x [B, L, D], which may be overwritten if the execution says so -> [B, L, D]."""
        q = self.rotated(self.norm_q, multiply(self.q, x, execution.multiply), rope, execution)
        k = self.rotated(self.norm_k, multiply(self.k, x, execution.multiply), rope, execution)
        v = multiply_tokens(self.v, x, execution)
        q, k, v = (rearrange(part, "B L (N D) -> B L N D", N=self.heads) for part in (q, k, v))
        out = execution.attend_video(q, k, v).flatten(2)
        del q, k, v
        return multiply_tokens(self.o, out, execution)

    def look(self, x: Tensor, rope: Tensor, posed: Posed, poses: Tensor | None, execution: Execution) -> Tensor:
        """As `forward`, of a video that sees poses: x [B, L, D] -> [B, L, D].

        Args:
            x, poses: may be overwritten if the execution says so; `poses` [1 or B, L less a frame, D] are normed as x.
        """
        shown = None if poses is None or posed.poses is None else self._shown(poses, posed.poses, execution)
        q = self.rotated(self.norm_q, multiply(self.q, x, execution.multiply), rope, execution)
        k = with_room(self.rotated(self.norm_k, multiply(self.k, x, execution.multiply), rope, execution), posed)
        v = multiply_tokens(self.v, x, execution)
        v = with_room(weighed(v, posed, may_overwrite=execution.may_overwrite), posed)
        q, k, v = (rearrange(part, "B L (N D) -> B L N D", N=self.heads) for part in (q, k, v))
        out = look_posed(q, k, v, shown, posed, execution).flatten(2)
        del q, k, v, shown
        return multiply_tokens(self.o, out, execution)

    def _shown(self, normed: Tensor, poses: PoseTokens, execution: Execution) -> KeysAndValues:
        """Keys and values of poses, each [1 or B, L less a frame, N, D]."""
        keys = self.rotated(self.norm_k, multiply(self.k, normed, execution.multiply), poses.rope, execution)
        values = multiply_tokens(self.v, normed, execution)
        if poses.strength != 1.0:
            values = values.mul_(poses.strength) if execution.may_overwrite else poses.strength * values
        keys, values = (rearrange(part, "B L (N D) -> B L N D", N=self.heads) for part in (keys, values))
        return keys, values

    def rotated(self, norm: RMSNorm, x: Tensor, rope: Tensor, execution: Execution, run: int = 0) -> Tensor:
        """Queries or keys of what their matrix gives, x [B, L, D], which may be overwritten if the execution says so.

        `run` tokens at a time, or the usual number.
        """

        def normed_and_rotated(x: Tensor, rope: Tensor) -> Tensor:
            heads = rearrange(norm(x), "B L (N D) -> B L N D", N=self.heads)  # float32
            return rotate(heads, rope).flatten(2).to(x.dtype)

        if execution.checkpoints:
            return execution.run_in_parts(norm, normed_and_rotated, x, rope, run=matrix_run(x))
        return update_tokens(normed_and_rotated, x, rope, run=run or rows_run(x), may_overwrite=execution.may_overwrite)


class CrossAttention(AttentionLayers):
    """Every token of the video looks at the prompt and, in models with a branch that gives any, at picture tokens."""

    def __init__(self, config: DiTConfig, operations: ModuleType) -> None:
        super().__init__(config, operations)
        dim = config.dim
        if config.image_tokens:
            self.k_img = operations.Linear(dim, dim)
            self.v_img = operations.Linear(dim, dim)
            self.norm_k_img = RMSNorm(dim, config.eps)

    def forward(self, x: Tensor, context: Context, execution: Execution) -> Tensor:
        """x [B, L, D] -> [B, L, D]."""
        part, length = context.whole_of(slice(0, x.shape[1]), x.shape[1])
        see = partial(self.keys_and_values, execution)
        q, o = partial(multiply, self.q, how=execution.multiply), partial(multiply_tokens, self.o, execution=execution)
        return self.look(x, Sight(part, length, see, q, o), context, execution)

    def keys_and_values(self, execution: Execution, shown: Tensor, *, is_image: bool = False) -> KeysAndValues:
        """Of a text or a picture that is shown, [B, tokens, D] -> twice [B, tokens, N, D / N]."""
        k, norm, v = (self.k_img, self.norm_k_img, self.v_img) if is_image else (self.k, self.norm_k, self.v)
        keys = self._normed(norm, multiply(k, shown, execution.multiply), execution)
        return keys, self._heads(multiply(v, shown, execution.multiply))

    def look(self, x: Tensor, sight: Sight, context: Context, execution: Execution) -> Tensor:
        """What a run of tokens makes of what the context shows: x [B, run, D] -> [B, run, D]."""
        see, q = sight.see, self._normed(self.norm_q, sight.q(x), execution)
        if context.in_time is None:
            out = execution.attention(q, *see(context.text))
        else:
            out = _seen_in_time(q, context.in_time, sight, execution)
        if context.avoided is not None:
            out = _led_away(out, q, see(context.avoided.text), context.avoided, execution)
        image = context.image
        if image is not None:
            seen = execution.attention(q, *see(image, is_image=True))
            out = add(out, seen, may_overwrite=execution.may_overwrite)
            del seen
        del q
        return sight.o(out.flatten(2))

    def _normed(self, norm: RMSNorm, x: Tensor, execution: Execution) -> Tensor:
        def normed(rows: Tensor) -> Tensor:
            return norm(rows).to(rows.dtype)

        if execution.checkpoints:
            return self._heads(execution.run_in_parts(norm, normed, x, run=matrix_run(x)))
        return self._heads(update_tokens(normed, x, run=rows_run(x), may_overwrite=execution.may_overwrite))

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "B L (N D) -> B L N D", N=self.heads)


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


def _seen_in_time(q: Tensor, texts: SpansInTime, sight: Sight, execution: Execution) -> Tensor:
    """What attention makes of each frame's texts, mixed by their shares: q [B, run, N, D] -> [B, run, N, D]."""
    out, part = torch.zeros_like(q), sight.part
    of_frame = sight.length // texts.frames
    for text, start, stop, shares in texts.spans:
        first = start * of_frame
        shown = range(max(part.start, first), min(part.stop, stop * of_frame))
        if not shown:
            continue
        rows = slice(shown.start - part.start, shown.stop - part.start)
        seen = execution.attention(q[:, rows], *sight.see(text))
        if shares is not None:
            of_tokens = shares.flatten().repeat_interleave(of_frame)[shown.start - first : shown.stop - first]
            of_tokens = of_tokens.view(1, -1, 1, 1).to(seen.dtype)
            seen = seen.mul_(of_tokens) if execution.may_overwrite else seen * of_tokens
        out[:, rows] += seen
        del seen  # before the next text is looked at
    return out


def multiply_tokens(layer: nn.Module, x: Tensor, execution: Execution, *, run: int = 0) -> Tensor:
    """x [B, L, D], which may be overwritten if the execution says so -> [B, L, D]; `run` tokens at a time, if given."""
    multiplied = partial(multiply, layer, how=execution.multiply)
    return update_tokens(multiplied, x, run=run or matrix_run(x), may_overwrite=execution.may_overwrite)
