"""Tiles that overlap in space, each seen by itself as a video of its own size; windows in time go with them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ...dit.conditioning.cut import Cut, Span
from ...dit.config import PATCH
from ..step import NoiseLevel
from .windows import WHOLE_CLIP, ClipShape, Windows

GRID = PATCH[1]
"""Tiles begin and end at whole tokens of the model, which are so many latent pixels wide and high."""


class TileSide(NamedTuple):
    """Rows or columns of a tile, and how many of them it shares with the next at least: both in latent pixels."""

    size: int
    overlap: int

    def spans(self, whole: int) -> tuple[Span, ...]:
        """Where tiles stand in `whole` rows or columns: as few as there can be, spread evenly."""
        if whole <= self.size:
            return (Span(0, whole, whole),)
        left, hop = -(-(whole - self.size) // GRID), (self.size - self.overlap) // GRID
        more = -(-left // hop)
        starts = [min(GRID * (number * left // more), whole - self.size) for number in range(more + 1)]
        return tuple(Span(start, start + self.size, whole) for start in starts)

    def weights(self, span: Span) -> Tensor:
        """How much the rows or columns of one of the `spans` count: 1, with a ramp over what it shares with each other.

        [stop - start], float32, above 0. Where no more than two tiles meet, theirs add up to 1.
        """
        spans = self.spans(span.whole)
        place = spans.index(span)
        length = span.stop - span.start
        counts = torch.ones(length, dtype=torch.float32)
        if place:
            counts = torch.minimum(counts, _rising(length, spans[place - 1].stop - span.start))
        if place + 1 < len(spans):
            counts = torch.minimum(counts, _rising(length, span.stop - spans[place + 1].start).flip(0))
        return counts


@record
class SpatialTiles:
    """Tiles of one size over pictures that are larger; a picture that is no larger than one is seen as a whole.

    A tile is a video to the model: its tokens are counted from its own corner. Where tiles overlap, their velocities
    are averaged by the product of a ramp over rows, one over columns, and the weights of `over_time`.

    Attributes:
        rows, columns: of a tile.
        over_time: the windows in time that each tile is seen in.

    Raises:
        InvalidInputError: sizes that no tiles have.

    Source: Bar-Tal et al., "MultiDiffusion", arXiv 2302.08113, equation 5 with weights that fall towards the edges.
    """

    rows: TileSide
    columns: TileSide
    over_time: Windows = WHOLE_CLIP

    def __post_init__(self) -> None:
        for side in (self.rows, self.columns):
            if side.size < GRID or side.size % GRID or side.overlap % GRID or not 0 <= side.overlap < side.size:
                raise InvalidInputError(
                    f"Tiles of {side.size} latent pixels cannot overlap in {side.overlap}. Both are multiples of "
                    f"{GRID}, and the overlap is shorter than a tile."
                )

    def cuts(self, clip: ClipShape, level: NoiseLevel) -> tuple[Cut, ...]:
        """See `Windows.cuts`: each window in time, tile by tile."""
        rows, columns = (_cut_spans(*each) for each in ((self.rows, clip.height), (self.columns, clip.width)))
        return tuple(
            replace(cut, rows=of_rows, columns=of_columns)
            for cut, of_rows, of_columns in product(self.over_time.cuts(clip, level), rows, columns)
        )

    def weights(self, cut: Cut, clip: ClipShape) -> Tensor:
        """See `Windows.weights`."""
        counts = self.over_time.weights(cut, clip)
        if cut.rows is not None:
            counts = counts * self.rows.weights(cut.rows)[:, None]
        if cut.columns is not None:
            counts = counts * self.columns.weights(cut.columns)
        return counts

    def noise(self, noise: Tensor, seed: int, references: int) -> Tensor:
        """See `Windows.noise`: that of the windows in time, of which each tile has its part."""
        return self.over_time.noise(noise, seed, references)


def _cut_spans(side: TileSide, whole: int) -> tuple[Span | None, ...]:
    """As `spans`, where a single one is no cut."""
    spans = side.spans(whole)
    return spans if len(spans) > 1 else (None,)


def _rising(length: int, shared: int) -> Tensor:
    """A ramp from nearly 0 to 1 over `shared` places; what follows them is more."""
    return (torch.arange(length, dtype=torch.float32) + 0.5) / shared
