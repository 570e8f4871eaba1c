"""Two models that share one run: the high-noise expert makes the first steps, the low-noise expert the rest.

Source: Wan-Video/Wan2.2 wan/text2video.py, `generate`: one solver walks the whole schedule, and each timestep decides
which expert it asks, with which guidance.
"""

from __future__ import annotations

from typing import Literal

from ..common.errors import InvalidInputError
from ..common.places import Place
from ..common.records import record
from .schedule import NoiseSchedule
from .step import NoiseLevel

Expert = Literal["high", "low"]

EXPERTS = Place("experts", "The pair of experts")
_ROUNDING = 1e-3


@record
class Handover:
    """Who makes which step.

    Attributes:
        boundary: the high-noise expert makes the steps that begin at a timestep of at least this, 0..1000.
        high_steps: how many steps it makes instead, whatever their timesteps; 0 to go by the boundary.
    """

    boundary: float
    high_steps: int = 0

    def expert(self, level: NoiseLevel) -> Expert:
        """The one that makes the step that begins at a noise level, also where the solver looks ahead in it."""
        # A sigma of 0.9 is 899.99999 in some schedules, by rounding.
        at_or_above = level.timestep >= self.boundary - _ROUNDING
        return "high" if (level.index < self.high_steps if self.high_steps else at_or_above) else "low"

    def check(self, schedule: NoiseSchedule) -> None:
        """Refuses to give more steps to an expert than there are.

        Raises:
            InvalidInputError: it is so.
        """
        if 0 < schedule.steps < self.high_steps:
            raise InvalidInputError(
                EXPERTS, f" gives the first {self.high_steps} steps to the high-noise expert, but the run has "
                f"{schedule.steps}. Choose at most {schedule.steps}, or 0 to change over where the model was trained "
                "to.",
            )  # fmt: skip
