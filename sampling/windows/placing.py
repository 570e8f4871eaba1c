"""Where windows of one size stand in a clip: the first latent frames of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple


class WindowRow(NamedTuple):
    """What windows stand in: a clip of `frames`, more than the `size` of one, which shares `overlap` with the next.

    All in latent frames; `overlap` is less than `size`.
    """

    frames: int
    size: int
    overlap: int

    @property
    def hop(self) -> int:
        """From a window to the next."""
        return self.size - self.overlap


def static_starts(row: WindowRow, step: int) -> tuple[int, ...]:
    """The same places in every step; the last window ends with the clip.

    Source: ComfyUI v0.33.0, comfy/context_windows.py, create_windows_static_standard.
    """
    last = row.frames - row.size
    return (*range(0, last, row.hop), last)


def moving_starts(row: WindowRow, step: int) -> tuple[int, ...]:
    """Other places in each step, so that no frame is always at the edge of a window.

    The row of windows begins at a part of the clip that halves again and again (0, 1/2, 1/4, 3/4, 1/8 ...). One that
    would reach over the end ends with the clip, and what it would show of the beginning gets a window of its own.

    Source: ComfyUI v0.33.0, comfy/context_windows.py, create_windows_uniform_standard with a stride of 1.
    """
    shift = round(row.frames * _halving(step))
    begun = [start % row.frames for start in range(shift, shift + row.frames - row.overlap, row.hop)]
    last = row.frames - row.size
    starts: list[int] = []
    for number, start in enumerate(begun):
        starts.append(min(start, last))
        following = begun[number + 1] if number + 1 < len(begun) else starts[0]
        if start > last and not (following == 0 or following > last and number + 1 < len(begun)):
            starts.append(0)
    return tuple(dict.fromkeys(starts))


Placing = Callable[[WindowRow, int], tuple[int, ...]]
"""(row, number of the step) -> first frames of the windows, in the order in which they are computed."""

PLACINGS: Mapping[str, Placing] = MappingProxyType({"static": static_starts, "moving": moving_starts})


def _halving(number: int) -> float:
    """The van der Corput sequence in base 2: the binary digits of a number mirrored at the point."""
    value, part = 0.0, 0.5
    while number:
        value, part, number = value + part * (number & 1), part / 2, number >> 1
    return value
