"""Pictures in memory as small as can be without loss, one by one and back again, without an encoder."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..common.records import record
from .pictures import from_bytes, to_bytes

_LEVEL = 1
"""Of zlib: the highest makes it 10 % smaller, and takes eight times as long."""
_CHOOSES_BY = 4
"""The way to foretell a picture is chosen by every so many of its rows."""


@record(eq=False)
class PackedFrames:
    """Frames [H, W, 3] of 8 bits, packed.

    Attributes:
        height, width: of each.
        data: uint8, one frame after the other.
        ends: where in it each frame ends.
    """

    height: int
    width: int
    data: Tensor
    ends: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ends)

    def frames(self) -> Generator[Tensor, None, None]:
        """The frames one by one: [H, W, 3] in 0..1, float32; `to_bytes` gives the 8 bits that went in.

        Raises:
            ValueError: they are damaged.
        """
        data, before, begin = self.data.numpy(), None, 0
        for end in self.ends:
            before = _unpacked(data[begin:end].tobytes(), (3, self.height, self.width), before)
            begin = end
            yield from_bytes(_colours(before))


class FramePacker:
    """Packs frames of one size as they come."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._before: np.ndarray | None = None

    def add(self, frame: Tensor) -> None:
        """Takes a frame [H, W, 3] in 0..1, as `to_bytes` writes it down."""
        planes = _planes(to_bytes(frame))
        self._packed.append(_packed(planes, self._before))
        self._before = planes

    def packed(self) -> PackedFrames:
        """All frames so far.

        Raises:
            ValueError: there is none.
        """
        if self._before is None:
            raise ValueError("no frame was added")
        data = torch.frombuffer(bytearray(b"".join(self._packed)), dtype=torch.uint8)
        ends = np.cumsum([len(each) for each in self._packed]).tolist()
        _, height, width = self._before.shape
        return PackedFrames(height, width, data, tuple(ends))


class _Way(NamedTuple):
    """How a picture is foretold from its neighbours: what it is beside that, and back; all modulo 256."""

    difference: Callable[[np.ndarray], np.ndarray]
    restore: Callable[[np.ndarray], np.ndarray]


def _ways(before: np.ndarray | None) -> tuple[_Way, ...]:
    """From its left neighbour, from that and the one above, from the frame before."""
    zero = np.uint8(0)
    along = partial(np.diff, axis=2, prepend=zero)
    back = partial(np.cumsum, axis=2, dtype=np.uint8)
    ways = (
        _Way(along, back),
        _Way(lambda p: along(np.diff(p, axis=1, prepend=zero)), lambda p: np.cumsum(back(p), axis=1, dtype=np.uint8)),
    )
    return ways if before is None else (*ways, _Way(lambda p: p - before, lambda p: p + before))


def _packed(planes: np.ndarray, before: np.ndarray | None) -> bytes:
    """The way as one byte, then what zlib makes of the differences; planes: [3, H, W], uint8."""
    few = planes[:, ::_CHOOSES_BY]
    ways = _ways(None if before is None else before[:, ::_CHOOSES_BY])
    costs = [int(np.abs(way.difference(few).view(np.int8).astype(np.int16)).sum()) for way in ways]
    chosen = int(np.argmin(costs))
    difference = _ways(before)[chosen].difference(planes)
    return bytes([chosen]) + zlib.compress(np.ascontiguousarray(difference).tobytes(), _LEVEL)


def _unpacked(packed: bytes, shape: tuple[int, int, int], before: np.ndarray | None) -> np.ndarray:
    ways = _ways(before)
    try:
        difference = np.frombuffer(zlib.decompress(packed[1:]), dtype=np.uint8).reshape(shape)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if packed[0] >= len(ways):
        raise ValueError(f"there is no way {packed[0]}")
    return ways[packed[0]].restore(difference)


def _planes(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 3] -> [3, H, W]: green, and what red and blue are beside it."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return np.stack([green, red - green, blue - green])


def _colours(planes: np.ndarray) -> np.ndarray:
    """The reverse of `_planes`."""
    green, red, blue = planes
    return np.stack([red + green, green, blue + green], axis=-1)
