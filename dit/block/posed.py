"""Self-attention of a video whose frames each see their own frame of a pose video, too (Wan-Animate-2).

Suffixes: B batch, L tokens of the video, R the same and room for those of a frame, N heads, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention import Attention
from ..context import Posed, PoseTokens
from ..execution import Execution, unshared
from ..layers import modulated_norm

KeysAndValues = tuple[Tensor, Tensor]

_ALIGNED = 16
"""Rows of a mask begin at multiples of so many numbers, so that kernels take it as it is, without a copy."""


def look_posed(
    q_BLND: Tensor, k_BRND: Tensor, v_BRND: Tensor, poses: KeysAndValues | None, posed: Posed, execution: Execution
) -> Tensor:
    """What every token makes of the video and of the poses of its frame -> [B, L, N, D].

    The first frame of tokens, a picture, sees the video alone.

    Args:
        q_BLND: may be overwritten if the execution says so.
        k_BRND, v_BRND: of `with_room` if there are poses, else of L tokens; given away. Of a part of the tokens
            without room, and not weighed.
        poses: keys and values of the poses, each [1 or B, L less a frame, N, D]; None where there are none.

    Source: Wan-Video/Wan-Animate-2; diffusers models/transformers/transformer_wan_animate_2.py (0.42.1), a mask over
        all pairs there; ComfyUI v0.33.0, comfy/ldm/wan/model_animate2.py, frame by frame as here.
    """
    if posed.is_part:
        return _look_at_all(q_BLND, k_BRND, v_BRND, poses, posed, execution)
    length = q_BLND.shape[1]
    of_frame = length // posed.frames
    attend = _kernel(posed, of_frame, execution.attention)
    if poses is None:
        return attend(q_BLND, k_BRND, v_BRND)
    seen: list[Tensor] = []
    for frame in _frames(length, of_frame):
        q = q_BLND[:, frame]
        if not frame.start:
            out = attend(q, k_BRND[:, :length], v_BRND[:, :length])
        else:
            shown = slice(frame.start - of_frame, frame.stop - of_frame)
            k_BRND, v_BRND = (
                _with_last(each, length, pose[:, shown], execution) for each, pose in zip((k_BRND, v_BRND), poses)
            )
            out = attend(q, k_BRND, v_BRND)
        seen.append(q.copy_(out) if execution.may_overwrite else out)
    return q_BLND if execution.may_overwrite else torch.cat(seen, dim=1)


def _look_at_all(
    q: Tensor, k: Tensor, v: Tensor, poses: KeysAndValues | None, posed: Posed, execution: Execution
) -> Tensor:
    """What the tokens of one device of several make of those of all: each device looks with some heads of all tokens.

    Every device has all the poses, of which it takes its heads.
    """
    whole, here = posed._replace(is_part=False), replace(execution, shared=unshared)

    def look(q: Tensor, k: Tensor, v: Tensor, *shown: Tensor) -> Tensor:
        k, v = with_room(k, whole), with_room(weighed(v, whole, may_overwrite=execution.may_overwrite), whole)
        return look_posed(q, k, v, (shown[0], shown[1]) if shown else None, whole, here)

    return execution.shared(look, *(poses or ()))(q, k, v)


def normed_poses(tokens: Tensor, poses: PoseTokens, modulation: Tensor, eps: float) -> Tensor:
    """A run of the tokens of poses [1 or B, n, D] as self-attention takes them, by a block's modulation [1, 6, D]."""
    shift, scale = (modulation.float() + poses.modulation)[:, :, :2].unbind(2)  # each [1 or B, 1, D]
    return modulated_norm(tokens, scale, shift, eps)


def with_room(x: Tensor, posed: Posed) -> Tensor:
    """x [B, L, ...] with room behind it for those of one frame of poses, if there are any and all tokens are here."""
    if posed.poses is None or posed.is_part:
        return x
    length = x.shape[1]
    longer = x.new_empty(x.shape[0], length + length // posed.frames, *x.shape[2:])
    longer[:, :length] = x
    return longer


def weighed(values: Tensor, posed: Posed, *, may_overwrite: bool) -> Tensor:
    """Values [B, L, ...] of the video, those of its picture counting as much as they are to, if all tokens are here."""
    strength, picture = posed.picture_strength, values.shape[1] // posed.frames
    if strength == 1.0 or posed.is_part:
        return values
    if not may_overwrite:
        return torch.cat([strength * values[:, :picture], values[:, picture:]], dim=1)
    values[:, :picture] *= strength
    return values


def _kernel(posed: Posed, of_frame: int, attention: Attention) -> Attention:
    """The kernel of a frame; one that adds to logits is PyTorch's own, since others cannot."""
    return attention if posed.second_bias == 0.0 else partial(_biased, posed.second_bias, of_frame)


def _biased(bias: float, of_frame: int, q_BLND: Tensor, k_BRND: Tensor, v_BRND: Tensor) -> Tensor:
    """Attention with a number added to the logits of the keys of the second frame.

    Source: modelscope/DiffSynth-Studio diffsynth/models/wan_animate_2_dit.py (2.1.12), `log_scale`.
    """
    length = k_BRND.shape[1]
    added = q_BLND.new_zeros(1, 1, 1, -(-length // _ALIGNED) * _ALIGNED)[..., :length]
    added[..., of_frame : 2 * of_frame] = bias
    heads = (each.transpose(1, 2) for each in (q_BLND, k_BRND, v_BRND))
    return F.scaled_dot_product_attention(*heads, attn_mask=added).transpose(1, 2)


def _with_last(x: Tensor, length: int, last: Tensor, execution: Execution) -> Tensor:
    """The first tokens of x, and others in the room behind them."""
    if not execution.may_overwrite:  # what was seen before is wanted for the backward pass
        return torch.cat([x[:, :length], last.expand(len(x), *last.shape[1:])], dim=1)
    x[:, length:] = last
    return x


def _frames(length: int, of_frame: int) -> Iterator[slice]:
    for start in range(0, length, of_frame):
        yield slice(start, start + of_frame)
