"""Clips side by side in one picture, with names for rows and columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_LEAST_CELL = 160
"""Pixels of the shorter side of a cell: smaller clips are enlarged by a whole number, so that their pixels stay."""
_GAP, _TOP, _TEXT = 6, 30, 15
_PAPER, _INK = (24, 26, 30), (220, 222, 226)


class SheetNames(NamedTuple):
    """What stands beside the rows and above the columns."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]


def contact_sheet(rows: Sequence[Sequence[Tensor]], names: SheetNames) -> Iterator[Tensor]:
    """The frames [H, W, 3] of one clip that shows all of them; one that ends sooner stays at its last frame.

    Args:
        rows: of clips [F, h, w, 3], all of one size: in 0..1, or bytes.
        names: one for each row and column.
    """
    clips = list(chain.from_iterable(rows))
    height, width = clips[0].shape[1:3]
    factor = max(1, math.ceil(_LEAST_CELL / min(height, width)))
    grid = _Grid(height * factor, width * factor, names)
    ground = grid.ground()
    for frame in range(max(len(clip) for clip in clips)):
        sheet = ground.clone()
        for row, each in enumerate(rows):
            for column, clip in enumerate(each):
                picture = _in_numbers(clip[min(frame, len(clip) - 1)])
                top, left = grid.place(row, column)
                large = picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
                sheet[top : top + large.shape[0], left : left + large.shape[1]] = large
        yield sheet


def _in_numbers(picture: Tensor) -> Tensor:
    """A picture in 0..1."""
    return picture.float() / 255 if picture.dtype == torch.uint8 else picture


class _Grid:
    """Where the cells lie."""

    def __init__(self, height: int, width: int, names: SheetNames) -> None:
        from PIL import ImageFont

        self._font = ImageFont.load_default(_TEXT)
        self._height, self._width, self._names = height, width, names
        self._left = 2 * _GAP + math.ceil(max(self._font.getlength(name) for name in names.rows))

    def place(self, row: int, column: int) -> tuple[int, int]:
        """The top left corner of a cell."""
        return _TOP + row * (self._height + _GAP), self._left + column * (self._width + _GAP)

    def ground(self) -> Tensor:
        """The sheet without clips, [H, W, 3]."""
        from PIL import Image, ImageDraw

        end = self.place(len(self._names.rows), len(self._names.columns))
        image = Image.new("RGB", (end[1], end[0]), _PAPER)
        drawing = ImageDraw.Draw(image)
        for column, name in enumerate(self._names.columns):
            middle = self.place(0, column)[1] + self._width / 2
            drawing.text((middle, _TOP / 2), name, fill=_INK, font=self._font, anchor="mm")
        for row, name in enumerate(self._names.rows):
            middle = self.place(row, 0)[0] + self._height / 2
            drawing.text((_GAP, middle), name, fill=_INK, font=self._font, anchor="lm")
        return torch.from_numpy(np.asarray(image).copy()).float() / 255
