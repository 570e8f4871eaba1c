"""A guidance scale that changes during the run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ..ask import Ask
from ..step import NoiseLevel
from ..validation import check_cfg
from .guidance import Guidance, Memory, OfScale
from .parts import WHOLE_RUN, Part

_NUMBER = r"\d{1,3}(?:\.\d{1,6})?"
_ENTRY = re.compile(rf"\s*(?:({_NUMBER})\s*:\s*)?({_NUMBER})\s*")


@record
class ScaleCurve:
    """Guidance scales over the run.

    Attributes:
        values: one for each step from the first on, of which the last one stays; or of each of `places`.
        places: parts 0..1 of the steps, rising, between which the scale changes evenly; empty for one value a step.
    """

    values: tuple[float, ...]
    places: tuple[float, ...] = ()

    def at(self, level: NoiseLevel) -> float:
        """The scale of the step that begins at this noise level."""
        if not self.places:
            return self.values[min(level.index, len(self.values) - 1)]
        place = level.index / level.steps
        for (start, end), (first, last) in zip(pairwise(self.places), pairwise(self.values)):
            if start <= place < end:
                return first + (last - first) * (place - start) / (end - start)
        return self.values[0] if place < self.places[0] else self.values[-1]


def parse_curve(text: str) -> ScaleCurve | None:
    """ "6, 4, 1" -> one scale a step; "0:6, 0.5:3" -> a curve over parts of the run; "" -> None.

    Raises:
        InvalidInputError: the text is none of these.
    """
    if not text.strip():
        return None
    found = [_ENTRY.fullmatch(entry) for entry in text.split(",")]
    entries = [(entry[1], float(entry[2])) for entry in found if entry]
    places = tuple(float(place) for place, _ in entries if place is not None)
    rising = all(first < second for first, second in pairwise(places)) and (not places or places[-1] <= 1.0)
    if len(entries) != len(found) or len(places) not in (0, len(entries)) or not rising:
        raise InvalidInputError(
            f"A course of cfg is one number a step, such as '6, 6, 3, 1', or numbers at parts of the run from 0 to 1, "
            f"such as '0:6, 0.5:3', got {text[:80]!r}."
        )
    values = tuple(value for _, value in entries)
    for value in values:
        check_cfg(value)
    return ScaleCurve(values, places)


@record
class ScaleOverRun:
    """A guidance whose scale depends on the step.

    Attributes:
        guidance: from a scale to the guidance of a step.
        scale: where no curve says another one.
        curve: the scales over the run, if they change.
        part: the steps that are guided; in the others the scale is 1, and the negative prompt is not asked.
        beyond: from a scale to the guidance of these others; None for `guidance`. One that has a course of its own
            would go by that in place of the scale 1.

    Source of the part: Kynkäänniemi et al., "Applying Guidance in a Limited Interval", arXiv 2404.07724.
    """

    guidance: OfScale
    scale: float
    curve: ScaleCurve | None = None
    part: Part = WHOLE_RUN
    beyond: OfScale | None = None

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        return self.at(level).asks(level)

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        return self.at(level).velocity(answers, level, latent, memory)

    def at(self, level: NoiseLevel) -> Guidance:
        """The guidance of the step that begins at a noise level."""
        if not self.part.holds(level):
            return (self.beyond or self.guidance)(1.0)
        scale = self.scale if self.curve is None else self.curve.at(level)
        return self.guidance(1.0 if math.isclose(scale, 1.0) else scale)
