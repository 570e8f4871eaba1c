"""What is wanted of clips: their rate, length and size, how cuts are found, and which are kept."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from ...common.errors import InvalidInputError
from ...common.records import record
from ...common.shapes import PictureSize, check_frames

SCORES = {
    "motion": "how far things move on average, in percent of the shorter side per second",
    "fastest": "as motion, of the two frames with the most",
    "still": "the part of the frames that are as the one before, 0 to 1",
    "object": "as motion, of what moves otherwise than the camera",
    "sharpness": "variance of the Laplacian at 480 pixels, of the sharpest frame looked at",
    "brightness": "mean brightness, 0 to 1",
    "dark": "the part of black pixels, 0 to 1",
    "bright": "the part of white pixels, 0 to 1",
    "gap": "the longest time from one frame of the file to the next, in seconds",
    "text": "the part of the frame that text covers, 0 to 1; measured where `measure` names it",
    "brisque": "BRISQUE, 0 is flawless and 100 bad; measured where `measure` names it",
}
"""Name of a score -> what it is."""
OPTIONAL = ("text", "brisque")


class Range(NamedTuple):
    """The values of a score with which a clip is kept, both ends included; None leaves an end open."""

    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.least is None:
            return "any" if self.most is None else f"at most {self.most:g}"
        return f"at least {self.least:g}" if self.most is None else f"{self.least:g} to {self.most:g}"


USUAL_FILTERS = {
    "motion": Range(1.0, None),
    "still": Range(None, 0.5),
    "sharpness": Range(20.0, None),
    "dark": Range(None, 0.7),
    "bright": Range(None, 0.5),
    "gap": Range(None, 0.5),
}
"""Mild: they leave out what is still, blurred, black, white or a slide show."""


@record
class Preparation:
    """What clips are to be.

    Attributes:
        fps: of the clips: 16 for Wan 2.1 and A14B, 24 for TI2V-5B.
        longest, shortest: frames of a clip, 1 + 4k.
        side: the shorter side of clips at most, in pixels; larger videos are made smaller.
        resolution: what the dataset file tells the trainer.
        soft_cuts: whether dissolves are looked for, too.
        keep_bars: whether black bars stay.
        filters: score -> the values that are kept.
        measured: scores beside the usual ones, of `OPTIONAL`.
    """

    fps: float = 16.0
    longest: int = 81
    shortest: int = 17
    side: int = 720
    resolution: PictureSize = PictureSize(832, 480)
    soft_cuts: bool = False
    keep_bars: bool = False
    filters: tuple[tuple[str, Range], ...] = tuple(USUAL_FILTERS.items())
    measured: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_frames(self.longest)
        check_frames(self.shortest)
        if not 1 <= self.fps <= 120:
            raise InvalidInputError(f"Clips have 1 to 120 frames per second, got {self.fps:g}. Use 16, or 24 for 5B.")
        if not 5 <= self.shortest <= self.longest:
            raise InvalidInputError(
                f"The shortest clip has 5 frames at least and no more than the longest, got {self.shortest} and "
                f"{self.longest}. Use 17 and 81."
            )
        if self.side < 64:
            raise InvalidInputError(f"The shorter side of a clip has 64 pixels or more, got {self.side}. Use 720.")
        unmeasured = [name for name, _ in self.filters if name in OPTIONAL and name not in self.measured]
        if unmeasured:
            raise InvalidInputError(
                f"There is a filter for {unmeasured[0]}, which is not measured. Let `measure` name {unmeasured[0]}, "
                "too."
            )


def with_filters(settings: Preparation, texts: list[str]) -> Preparation:
    """Settings with filters as they are written: `motion=2:60`, `motion=2:`, `text=:0.1`, and `motion=` for none.

    Raises:
        InvalidInputError: one is something else.
    """
    filters = dict(settings.filters)
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or name not in SCORES:
            raise InvalidInputError(
                f"'{text}' is no filter. Write the name of a score, = and the values that are kept, as motion=2:60; "
                f"scores are {', '.join(SCORES)}."
            )
        filters.pop(name, None)
        if values:
            filters[name] = _range(text, values)
    return replace(settings, filters=tuple(filters.items()))


def _range(text: str, values: str) -> Range:
    least, colon, most = values.partition(":")
    try:
        ends = Range(float(least) if least else None, float(most) if most else None)
    except ValueError:
        colon, ends = "", Range()
    numbers = [end for end in ends if end is not None]
    if not colon or not numbers or not all(map(math.isfinite, numbers)) or numbers != sorted(numbers):
        raise InvalidInputError(
            f"The filter '{text}' has no range. Write two numbers with a colon between them, the smaller first, or "
            "leave one of them out: motion=2:60, motion=2:, motion=:60."
        )
    return ends
