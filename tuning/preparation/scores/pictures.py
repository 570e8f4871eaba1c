"""How sharp, dark and bright the frames of a clip are, and where they have black bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ....common.records import record
from ..packages import opencv

SHORTER_SIDE = 480
"""Frames are looked at in this size at most: a sharp frame of any size has about the same score then."""
_BLACK, _WHITE = 16, 240
_BAR = 24
"""A line is black when none of its pixels is ever brighter, of 255; a coder's noise is."""
_LEAST_BAR = 0.02
_UNEQUAL = 0.25
_MOST_BARS = 0.6


@record
class Look:
    """Attributes:
    sharpness: variance of the Laplacian of the sharpest frame.
    brightness: mean, 0..1.
    dark, bright: parts of the pixels that are black, and white.
    """

    sharpness: float
    brightness: float
    dark: float
    bright: float


class Bars(NamedTuple):
    """Black bars, each in parts of the height or width."""

    top: float = 0.0
    bottom: float = 0.0
    left: float = 0.0
    right: float = 0.0

    def inside(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what is between the bars of a picture of this size, free of their edges."""
        left, right = (-(-int(part * width * 1000) // 1000) for part in (self.left, self.right))
        top, bottom = (-(-int(part * height * 1000) // 1000) for part in (self.top, self.bottom))
        more = 2 if any(self) else 0  # the coder mixes the line beside a bar with it
        around = (left + more * (left > 0), top + more * (top > 0), right + more * (right > 0))
        return around[0], around[1], width - around[2], height - (bottom + more * (bottom > 0))


NO_BARS = Bars()


def look_of(frames: Sequence[np.ndarray]) -> Look:
    """How frames look, each [h, w], uint8, grey."""
    cv2 = opencv()
    every = np.concatenate([frame.reshape(-1) for frame in frames])
    return Look(
        sharpness=max(float(cv2.Laplacian(frame, cv2.CV_64F).var()) for frame in frames),
        brightness=float(every.mean()) / 255,
        dark=float((every < _BLACK).mean()),
        bright=float((every > _WHITE).mean()),
    )


def bars_of(brightest: np.ndarray) -> Bars:
    """The bars of a clip: black lines at two opposite edges, about as many at either.

    Args:
        brightest: [h, w], uint8, each pixel's brightest value in the clip.
    """
    top, bottom = _pair(brightest.max(1))
    left, right = _pair(brightest.max(0))
    return Bars(top, bottom, left, right)


def _pair(lines: np.ndarray) -> tuple[float, float]:
    is_lit = np.flatnonzero(lines > _BAR)
    if not len(is_lit):
        return 0.0, 0.0
    first, last = int(is_lit[0]), len(lines) - 1 - int(is_lit[-1])
    both = first + last
    is_pair = abs(first - last) <= max(2, _UNEQUAL * both)
    if min(first, last) < _LEAST_BAR * len(lines) or not is_pair or both > _MOST_BARS * len(lines):
        return 0.0, 0.0
    return first / len(lines), last / len(lines)
