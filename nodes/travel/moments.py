"""Times as a user writes them: frames, seconds, parts of a clip."""

from __future__ import annotations

import re

from ...common.errors import InvalidInputError
from ...sampling.travel import Moment, Unit

TIME = r"(?P<time>\d+(?:\.\d+)?)\s*(?P<unit>s|%|)"
"""Pattern of a time, for patterns around it."""
_UNITS: dict[str, Unit] = {"": "frame", "s": "second", "%": "percent"}


def moment_of(match: re.Match[str], subject: str) -> Moment:
    """The time in a match of a pattern with TIME in it.

    Args:
        subject: what the sentence about a wrong time begins with, as "The place is".

    Raises:
        InvalidInputError: a frame that is no whole number.
    """
    time, unit = match["time"], match["unit"]
    if not unit and not float(time).is_integer():
        raise InvalidInputError(
            f"{subject} '{time}', and a time without s or % is a whole frame. Did you mean {time}s? Write s for "
            "seconds, % for a part of the clip, or a whole frame."
        )
    return Moment(float(time), _UNITS[unit])


def as_moment(text: str) -> Moment | None:
    """A time that stands alone; None where the text is none.

    Raises:
        InvalidInputError: see `moment_of`.
    """
    match = re.fullmatch(TIME, text.strip())
    return None if match is None else moment_of(match, "A place is")
