"""The sizes and lengths that clips of any shape are brought to, all of about the same area."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from ..errors import InvalidInputError
from ..records import record
from ..shapes import MIN_SIDE, TEMPORAL_STRIDE, PictureSize, check_frames

_PATCH = 2
"""Latent pixels to a token's side."""


class Bucket(NamedTuple):
    """Size and length of the clips in a batch, in pixels and frames."""

    width: int
    height: int
    frames: int

    def tokens(self, spatial_stride: int = 8) -> int:
        """How many the transformer sees of one clip."""
        side = spatial_stride * _PATCH
        return (1 + (self.frames - 1) // TEMPORAL_STRIDE) * (self.height // side) * (self.width // side)


@record(slots=False)
class Buckets:
    """Sizes of at most an area, in every shape up to a longest one, and the lengths that clips are cut to.

    Attributes:
        area: pixels of a frame at most.
        multiple: of both sides; 16, or 32 for TI2V-5B.
        ratio_limit: how many times the longer side may be the shorter.
        frame_steps: the lengths, 1 + 4k frames each; none stands for every one of them.

    Source of the sizes: kohya-ss/musubi-tuner, dataset/bucket.py: to each width the largest height, both ways round.
    """

    area: int
    multiple: int = 16
    ratio_limit: float = 4.0
    frame_steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.multiple < 1 or self.ratio_limit < 1:
            raise InvalidInputError(
                f"Sides are multiples of 1 or more, in a ratio of 1 or more, got {self.multiple} and "
                f"{self.ratio_limit:g}. Use 16 and 4."
            )
        for frames in self.frame_steps:
            check_frames(frames)
        if not self.sizes:
            raise InvalidInputError(
                f"No size has sides of {self._least} pixels or more, in a ratio of {self.ratio_limit:g} at most, in an "
                f"area of {self.area}. Use a larger area."
            )

    @cached_property
    def sizes(self) -> tuple[PictureSize, ...]:
        """All sizes, from the most upright to the longest; each is there lying and upright."""
        longest = math.isqrt(int(self.area * self.ratio_limit))
        found = set()
        for side in range(self._least, longest + 1, self.multiple):
            other = self.area // side // self.multiple * self.multiple
            if other >= self._least and max(side, other) <= self.ratio_limit * min(side, other):
                found |= {PictureSize(side, other), PictureSize(other, side)}
        return tuple(sorted(found, key=lambda size: (Fraction(size.width, size.height), size)))

    def choose(self, width: int, height: int, frames: int = 1, most_enlarged: float = 1.0) -> Bucket:
        """The size and length for a clip: the nearest in shape that does not enlarge it, the longest that it fills.

        A clip smaller than the area keeps its own size, each side cut to the multiple.

        Args:
            width, height: of the clip, in pixels.
            frames: that it has; 1 is a picture.
            most_enlarged: how many times larger it may become.

        Raises:
            InvalidInputError: it is smaller than the smallest size, or shorter than the shortest length.
        """
        if min(width, height, frames) < 1:
            raise InvalidInputError(f"A clip has sides and frames of 1 or more, got {width} x {height} x {frames}.")
        have = PictureSize(width, height)
        own = PictureSize(*(int(side * most_enlarged) // self.multiple * self.multiple for side in have))
        is_own = min(own) >= self._least and own.width * own.height <= self.area
        candidates = [size for size in (*self.sizes, *([own] if is_own else [])) if _fits(size, have, most_enlarged)]
        if not candidates:
            raise InvalidInputError(
                f"A picture of {width} x {height} pixels is too small for sides of {self._least} or more, or too long "
                f"for a ratio of {self.ratio_limit:g} to 1. Leave it out, or allow that it is enlarged."
            )
        size = min(candidates, key=lambda size: (_ratio(size, have), -size.width * size.height, max(size), -size.width))
        return Bucket(*size, self._length(frames))

    @property
    def _least(self) -> int:
        """The smallest side."""
        return -(-MIN_SIDE // self.multiple) * self.multiple

    def _length(self, frames: int) -> int:
        """The longest length that a clip fills; a clip is never cut to a picture."""
        steps = self.frame_steps or (frames - (frames - 1) % TEMPORAL_STRIDE,)
        filled = [step for step in steps if step <= frames and (step > 1 or frames == 1)]
        if filled:
            return max(filled)
        shortest = min((step for step in self.frame_steps if step > 1 or frames == 1), default=1 + TEMPORAL_STRIDE)
        raise InvalidInputError(
            f"A clip of {frames} {'frame' if frames == 1 else 'frames'} fills no length; the shortest is {shortest}. "
            "Leave it out, or use shorter lengths."
        )


def enlargement(have: PictureSize, size: PictureSize) -> float:
    """How many times larger a picture becomes to cover a size; below 1 it becomes smaller."""
    return max(size.width / have.width, size.height / have.height)


def cropped_share(have: PictureSize, size: PictureSize) -> float:
    """The part of a picture that is cut off when it covers a size and keeps its shape."""
    return float(1 - 1 / _ratio(size, have))


def _fits(size: PictureSize, have: PictureSize, most: float) -> bool:
    return size.width <= have.width * most and size.height <= have.height * most


def _ratio(size: PictureSize, have: PictureSize) -> Fraction:
    """How much longer or shorter one is than the other, 1 or more."""
    ratio = Fraction(size.width * have.height, size.height * have.width)
    return max(ratio, 1 / ratio)
