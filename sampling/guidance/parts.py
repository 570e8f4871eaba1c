"""In which steps of a run something counts."""

from __future__ import annotations

from typing import Protocol

from ...common.errors import InvalidInputError
from ...common.records import record
from ..step import NoiseLevel


class Part(Protocol):
    """A part of a run."""

    def holds(self, level: NoiseLevel) -> bool:
        """Whether the step that begins at this noise level is in it."""
        ...


@record
class PartOfSteps:
    """The steps from `start` up to `end`, parts 0..1 of their number: 0.5 to 1 is the second half.

    Raises:
        InvalidInputError: the part is empty or reaches out of the run.
    """

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.start < self.end <= 1.0:
            raise InvalidInputError(
                f"A part of the steps from {self.start:g} to {self.end:g} holds none of them. Both are from 0, the "
                "first step, to 1, the end, and the first is the smaller one."
            )

    def holds(self, level: NoiseLevel) -> bool:
        """See `Part.holds`."""
        place = level.index / level.steps
        return self.start <= place and (place < self.end or self.end == 1.0)


@record
class PartOfNoise:
    """The steps that begin at a sigma from `highest` down to `lowest`, both included, as native nodes count."""

    highest: float = 1.0
    lowest: float = 0.0

    def holds(self, level: NoiseLevel) -> bool:
        """See `Part.holds`."""
        return self.lowest <= level.sigma <= self.highest


WHOLE_RUN = PartOfSteps()
