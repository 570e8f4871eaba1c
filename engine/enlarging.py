"""Frames brought to a larger size, a few at a time where they are needed, so that no clip is held in that size."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from ..common.errors import OutOfMemory
from ..common.log import logger
from ..common.memory.out_of_memory import free_unused, is_out_of_memory
from ..common.records import record
from ..common.shapes import PictureSize
from ..media.pictures import fit_pictures

TILES = (512, 256, 128)
"""Sides in pixels of the tiles that are tried one after the other when memory runs out."""
OVERLAP = 32
_BYTES_PER_NUMBER = 384
"""Of a tile's pixels: what the largest upscale models hold for each number of the picture, times their scale."""

Enlarge = Callable[[Tensor], Tensor]
"""[1, 3, h, w] in 0..1 -> [1, 3, scale * h, scale * w]."""


class Enlarging(Protocol):
    """Brings frames to a size."""

    @property
    def size(self) -> PictureSize:
        """That they have then."""
        ...

    @property
    def working_bytes(self) -> int:
        """Of a device, while it works there, beside the frames."""
        ...

    def __call__(self, frames: Tensor) -> Tensor:
        """[1, 3, F, h, w] in 0..1, on any device -> [1, 3, F, H, W] in 0..1, on the same."""
        ...


class PictureModel(Protocol):
    """A network that makes pictures a whole number of times as large: ESRGAN and its kin."""

    @property
    def scale(self) -> int:
        """How many times as wide and high."""
        ...

    @property
    def weight_bytes(self) -> int:
        """What its weights take."""
        ...

    def on(self, device: torch.device) -> AbstractContextManager[Enlarge]:
        """The network on a device, in float32, as long as the context lasts."""
        ...


@record
class Bicubic:
    """By arithmetic alone, see `media.pictures.fit_pictures`; of another shape, the middle is taken."""

    size: PictureSize

    @property
    def working_bytes(self) -> int:
        """Nothing beside the frames."""
        return 0

    def __call__(self, frames: Tensor) -> Tensor:
        """See `Enlarging.__call__`."""
        return _fitted(frames, self.size)


@record(eq=False)
class ByPictureModel:
    """By a network, picture by picture in tiles, and then to the size as `Bicubic` does.

    Attributes:
        check: is called before each tile; what it raises ends the work.
    """

    model: PictureModel
    size: PictureSize
    check: Callable[[], None]

    @property
    def working_bytes(self) -> int:
        """The network, and what it holds of the largest tile."""
        return self.model.weight_bytes + 3 * 4 * TILES[0] ** 2 * self.model.scale * _BYTES_PER_NUMBER

    def __call__(self, frames: Tensor) -> Tensor:
        """See `Enlarging.__call__`.

        Raises:
            OutOfMemory: not even the smallest tile fits.
        """
        with self.model.on(frames.device) as enlarge:
            made = [_fitted(self._picture(enlarge, each), self.size) for each in frames.float().split(1, dim=2)]
        return torch.cat(made, dim=2)

    def _picture(self, enlarge: Enlarge, frame: Tensor) -> Tensor:
        """One frame [1, 3, 1, h, w] as the network makes it."""
        for tile in TILES:
            try:
                made = in_tiles(enlarge, frame[:, :, 0], self.model.scale, tile, check=self.check)
                return made.clamp(0, 1)[:, :, None]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            free_unused()
            logger.warning("Memory ran out in the upscale model; smaller tiles are tried.")
        raise OutOfMemory(
            f"The upscale model needs more memory than is free, even in tiles of {TILES[-1]} pixels. Close other "
            "programs, or enlarge without an upscale model."
        )


def in_tiles(enlarge: Enlarge, picture: Tensor, scale: int, tile: int, check: Callable[[], None]) -> Tensor:
    """What a network makes of a picture [1, 3, h, w] in 0..1, tile by tile: [1, 3, scale * h, scale * w], float32.

    Tiles overlap by `OVERLAP` pixels, in which each counts less towards its edge.

    Source: ComfyUI v0.33.0, comfy_extras/nodes_upscale_model.py, and comfy/utils.py,
    tiled_scale_multidim.
    """
    height, width = picture.shape[2:]
    if height <= tile and width <= tile:
        check()
        return enlarge(picture).float()
    total = picture.new_zeros(1, 3, scale * height, scale * width, dtype=torch.float32)
    weight = total.new_zeros(1, 1, *total.shape[2:])
    for top, rows in _spans(height, tile):
        for left, columns in _spans(width, tile):
            check()
            made = enlarge(picture[:, :, top : top + rows, left : left + columns]).float()
            counts = (_ramps(scale * rows, scale)[:, None] * _ramps(scale * columns, scale)).to(made)
            place = (..., slice(scale * top, scale * (top + rows)), slice(scale * left, scale * (left + columns)))
            total[place] += made * counts
            weight[place] += counts
    return total / weight


def _spans(length: int, tile: int) -> list[tuple[int, int]]:
    """Starts and lengths of the tiles along one side."""
    if length <= tile:
        return [(0, length)]
    starts = [min(length - OVERLAP, start) for start in range(0, length - OVERLAP, tile - OVERLAP)]
    return [(start, min(tile, length - start)) for start in starts]


def _ramps(length: int, scale: int) -> Tensor:
    """Weights along one side of an enlarged tile, with a ramp at both ends."""
    shared = scale * OVERLAP
    places = (torch.arange(length, dtype=torch.float32) + 1) / shared
    ends = torch.where(torch.arange(length) < shared, places, 1.0)
    return ends * ends.flip(0)


def _fitted(frames: Tensor, size: PictureSize) -> Tensor:
    """Frames [1, 3, F, h, w] at a size, see `Bicubic`."""
    pictures = fit_pictures(frames[0].permute(1, 2, 3, 0), *size, "crop")
    return pictures.permute(3, 0, 1, 2)[None]
