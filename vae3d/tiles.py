"""Decoding in overlapping tiles that are blended: the last resort, where not even strips fit.

A tile does not see what is around it, so the result is near that of whole frames, not equal: the attention of a tile
covers the tile alone. Time is not cut, so that tiles do not flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..common.shapes import TEMPORAL_STRIDE
from .stream import Passage, Step
from .strips import Rows, Shelf

LATENT_FRAMES_AT_ONCE = 4
# The decoder sees no more latent frames back (that of Wan 2.1: 38), so that it may start so many before those wanted.
_WARM_UP = 40


def decode_tiled(
    steps: Sequence[Step],
    latent: Tensor,
    prepare: Callable[[Tensor], Tensor],
    tile: int,
    *,
    start: int = 0,
    check: Callable[[], None] | None = None,
    shelf: Shelf | None = None,
) -> Iterator[Tensor]:
    """Frames of the latent frames from `start` on: [B, 3, 1 or 4, H, W], float32, where the shelf is.

    Args:
        steps: the decoder's; they enlarge both sides alike.
        latent: [B, C, T, h, w].
        prepare: brings a part of the latent to the decoder's entrance.
        tile: height and width of a tile in latent pixels; a quarter of it overlaps the next one.
    """
    shelf = shelf or Shelf()
    begin = max(0, start - _WARM_UP)
    places = [(rows, columns) for rows in _spans(latent.shape[3], tile) for columns in _spans(latent.shape[4], tile)]
    passages = {place: Passage(steps, check=check) for place in places}
    for first in range(begin, latent.shape[2], LATENT_FRAMES_AT_ONCE):
        window = latent[:, :, first : first + LATENT_FRAMES_AT_ONCE]
        frames = _blended(window, prepare, passages, shelf, missing=TEMPORAL_STRIDE - 1 if first == begin else 0)
        for number in range(first, first + window.shape[2]):
            count = 1 if number == begin else TEMPORAL_STRIDE
            piece, frames = frames[:, :, :count], frames[:, :, count:]
            if number >= start:
                yield piece


def _blended(
    window: Tensor,
    prepare: Callable[[Tensor], Tensor],
    passages: dict[tuple[Rows, Rows], Passage],
    shelf: Shelf,
    *,
    missing: int,
) -> Tensor:
    """The frames [B, 3, F, H, W] of some latent frames, of which the first has `missing` frames fewer."""
    frames = weights = torch.empty(0, dtype=torch.float32)
    height, width = window.shape[3:]
    count = window.shape[2] * TEMPORAL_STRIDE - missing
    for (rows, columns), passage in passages.items():
        piece = _decode(passage, prepare(window[..., slice(*rows), slice(*columns)]), shelf)
        scale = piece.shape[3] // (rows.end - rows.start)
        if not frames.numel():
            frames = piece.new_zeros(*piece.shape[:2], count, height * scale, width * scale)
            weights = piece.new_zeros(height * scale, width * scale)
        place = tuple(slice(span.start * scale, span.end * scale) for span in (rows, columns))
        weight = (_ramp(rows, height, scale)[:, None] * _ramp(columns, width, scale)).to(piece.device)
        frames[(..., *place)] += piece.mul_(weight)
        weights[place] += weight
    return frames.div_(weights)


def _decode(passage: Passage, entering: Tensor, shelf: Shelf) -> Tensor:
    """The tile's next frames, in float32 on the shelf, where its past is too before and after."""
    passage.streams = [
        stream.mapped(lambda _layer, _number, frame: shelf.take(frame, entering.device)) for stream in passage.streams
    ]
    passage.enter(entering)
    frames = torch.cat([shelf.put(frame).float() for frame in passage.frames()], dim=2)
    passage.streams = [stream.mapped(lambda _layer, _number, frame: shelf.put(frame)) for stream in passage.streams]
    return frames


def _spans(length: int, tile: int) -> list[Rows]:
    """Tiles that cover a side evenly, each overlapping the next by a quarter or more."""
    if length <= tile:
        return [Rows(0, length)]
    count = 1 + -(-(length - tile) // (tile - tile // 4))
    starts = [round(number * (length - tile) / (count - 1)) for number in range(count)]
    return [Rows(start, start + tile) for start in starts]


def _ramp(span: Rows, length: int, scale: int) -> Tensor:
    """Weights of a tile along one side, in pixels: 1, falling over a quarter at a border with another tile."""
    pixels = (span.end - span.start) * scale
    rising = (torch.arange(pixels, dtype=torch.float32) + 0.5) / (pixels / 4)
    weights = torch.ones(pixels, dtype=torch.float32)
    if span.start > 0:
        weights = torch.minimum(weights, rising)
    if span.end < length:
        weights = torch.minimum(weights, rising.flip(0))
    return weights
