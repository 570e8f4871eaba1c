"""Attention of each latent frame's tokens to what is said in it, by one person, or by two of whom each has a place.

Where two speak, every token is given a place on a line: near the first one's or the second one's, by how strongly
self-attention has it look at where that person is in the first frame. Turns along that line let tokens hear their own.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ....weights.multiplication import multiply, opened
from ...block.attention import SelfAttention
from ...context import Heard, Layered
from ...execution import Execution
from ...layers import affine_norm
from ...rope import THETA, rotate
from .frames import add_to_frames, look_by_frame

PLACES = ((0.0, 4.0), (20.0, 24.0))
"""Where the tokens of each of two people lie; what is said lies in the middle of its speaker's."""
_PARTS = 8
"""Into so many parts of the queries' size what they look at is cut."""
_TINY = 1e-8


class VoiceAttention(nn.Module):
    """Matrices of a look at what is said: of the tokens, of keys and values together, and of what is made of it."""

    def __init__(self, dim: int, width: int, operations: ModuleType) -> None:
        super().__init__()
        self.q_linear = operations.Linear(dim, dim)
        self.kv_linear = operations.Linear(width, 2 * dim)
        self.proj = operations.Linear(dim, dim)

    def keys_and_values(self, heard: Tensor, heads: int, execution: Execution) -> tuple[Tensor, Tensor]:
        """heard [1 or B, T, n, width] -> twice [1 or B, T, n, N, D / N]."""
        both = multiply(self.kv_linear, heard.flatten(1, 2), execution.multiply)
        keys, values = both.unflatten(1, heard.shape[1:3]).unflatten(-1, (2, heads, -1)).unbind(-3)
        return keys, values


class OneVoice(NamedTuple):
    """What one person says in a pass: `heard` [1 or B, T, n, width], by the last `length` tokens, which it moves
    `scale` times as far as trained."""

    heard: Tensor
    length: int
    scale: float

    def begin(self, execution: Execution) -> tuple[Heard, Execution]:
        """See `Heard.begin`."""
        return self, execution

    def added(self, block: Layered, tokens: Tensor, execution: Execution) -> Tensor:
        """See `Heard.added`."""
        return _added(block, tokens, self, None, execution)


class TwoVoices(NamedTuple):
    """What two people say, as `OneVoice`: the first half of each frame's tokens is the first one's.

    `masks` [2, tokens of a frame]: where they are in the first frame.
    """

    heard: Tensor
    length: int
    scale: float
    masks: Tensor

    def begin(self, execution: Execution) -> tuple[Heard, Execution]:
        """See `Heard.begin`."""
        looks = _LooksAtPeople(self)
        return looks, replace(execution, on_look=looks.look)

    def added(self, block: Layered, tokens: Tensor, execution: Execution) -> Tensor:
        """Never asked: `begin` gives what is."""
        raise NotImplementedError


class _LooksAtPeople:
    """Two voices in one block: sums up how strongly its tokens look at each of the two people."""

    def __init__(self, voices: TwoVoices) -> None:
        self._voices = voices
        self._strength: Tensor | None = None
        self._heads = 0

    def look(self, queries: Tensor, keys: Tensor, heads: slice) -> None:
        """See `Execution.on_look`."""
        length, masks = self._voices.length, self._voices.masks
        of_frame, before = masks.shape[1], queries.shape[1] - length
        first = keys[:, before : before + of_frame].permute(0, 2, 3, 1)  # [B, N, D, n]
        shares = (masks.float() / masks.sum(dim=1, keepdim=True).clamp(min=1)).T  # [n, 2]
        video, head_dim = queries[:, before:].transpose(1, 2), queries.shape[-1]
        run, scale = max(1, length * head_dim // (_PARTS * of_frame)), head_dim**-0.5
        parts = [(scale * part @ first).float().softmax(dim=-1) @ shares for part in video.split(run, dim=2)]
        strength = torch.cat([part.sum(dim=1) for part in parts], dim=1)  # [B, L, 2]
        self._strength = strength if self._strength is None else self._strength + strength
        self._heads += video.shape[1]

    def begin(self, execution: Execution) -> tuple[Heard, Execution]:
        """See `Heard.begin`."""
        return self, execution

    def added(self, block: Layered, tokens: Tensor, execution: Execution) -> Tensor:
        """See `Heard.added`."""
        assert self._strength is not None, "self-attention comes before"
        places = _places(self._strength / self._heads)
        voices = self._voices
        return _added(block, tokens, OneVoice(voices.heard, voices.length, voices.scale), places, execution)


def _places(strength: Tensor) -> Tensor:
    """Where tokens lie that look so strongly at each of two people: [B, L, 2] -> [B, L]."""
    least, most = strength.amin(dim=1, keepdim=True), strength.amax(dim=1, keepdim=True)
    starts, stops = (strength.new_tensor(ends) for ends in zip(*PLACES))
    places = (strength - least) / (most - least + _TINY) * (stops - starts) + starts
    return places.gather(2, strength.argmax(dim=2, keepdim=True)).squeeze(2)


def _turns(places: Tensor, head_dim: int) -> Tensor:
    """By what heads are turned at places [..., L]: [..., L, 1, head_dim / 2], complex64."""
    frequencies = THETA ** (-torch.arange(0, head_dim, 2, dtype=torch.float32, device=places.device) / head_dim)
    angles = (places[..., None] * frequencies)[..., None, :]
    return torch.complex(angles.cos(), angles.sin())


def _added(block: Layered, tokens: Tensor, voice: OneVoice, places: Tensor | None, execution: Execution) -> Tensor:
    """The tokens [B, L, D] with what they hear; `places` [B, video's tokens] where two speak."""
    look, norm, attention = (block.get_submodule(name) for name in ("audio_cross_attn", "norm_x", "self_attn"))
    assert isinstance(look, VoiceAttention) and isinstance(norm, nn.LayerNorm) and isinstance(attention, SelfAttention)
    heard, length, heads = voice.heard, voice.length, attention.heads
    frames, head_dim = heard.shape[1], tokens.shape[-1] // heads
    of_frame = length // frames
    keys, values = look.keys_and_values(heard, heads, execution)
    if places is not None:
        middles = [(start + stop) / 2 for start, stop in PLACES]
        spoken = places.new_tensor(middles).repeat_interleave(heard.shape[2] // 2)
        keys = rotate(keys.float(), _turns(spoken, head_dim)).to(keys.dtype)
    q, proj = (opened(layer, heard, execution.multiply) for layer in (look.q_linear, look.proj))

    def made(rows: Tensor, part: slice) -> Tensor:
        queries = q(affine_norm(rows, norm).to(heard.dtype))
        if places is not None:
            turns = _turns(places[:, part.start * of_frame : part.stop * of_frame], head_dim)
            turned = rotate(queries.float().unflatten(-1, (heads, head_dim)), turns)
            queries = turned.flatten(2).to(queries.dtype)
        seen = proj(look_by_frame(queries, keys[:, part], values[:, part]))
        return seen if voice.scale == 1.0 else voice.scale * seen

    return add_to_frames(tokens, length, frames, made, execution)
