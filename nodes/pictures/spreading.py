"""Frames that pictures stand at: spread evenly over a clip, or where a text says."""

from __future__ import annotations

from ...common.errors import InvalidInputError
from ..travel.moments import as_moment

_EXAMPLE = "'0, 24, 80', '0s, 1.5s, 5s' or '0%, 50%, 100%'"


def spread_evenly(pictures: int, frames: int) -> tuple[int, ...]:
    """The frames of so many pictures from the first to the last of a clip; a single one stands at the first.

    Raises:
        InvalidInputError: the clip has fewer frames than there are pictures.
    """
    _check_count(pictures, frames)
    return tuple(round(index * (frames - 1) / max(pictures - 1, 1)) for index in range(pictures))


def read_places(text: str, pictures: int, frames: int, fps: float) -> tuple[int, ...]:
    """The frames of a list 'time, time, ...', one for each picture, in the pictures' order.

    A time is a frame (24), a second (1.5s) or a part of the clip (50%; 100% is its last frame).

    Raises:
        InvalidInputError: see `spread_evenly`; or a time is none, stands outside the clip or at the frame of another,
            or there are more or fewer than pictures.
    """
    _check_count(pictures, frames)
    words = [word.strip() for line in text.splitlines() for word in line.split(",") if word.strip()]
    if len(words) != pictures:
        raise InvalidInputError(
            f"There are {pictures} pictures and {len(words)} places. Write one place for each picture, as in "
            f"{_EXAMPLE}, or none to spread them evenly."
        )
    places = tuple(_frame(word, frames, fps) for word in words)
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        same = " and ".join(f"'{word}'" for word, place in zip(words, places) if place == twice)
        raise InvalidInputError(f"The places {same} are both frame {twice}. Give each picture a frame of its own.")
    return places


def _frame(word: str, frames: int, fps: float) -> int:
    moment = as_moment(word)
    if moment is None:
        raise InvalidInputError(
            f"'{word[:40]}' is no place in a clip. Write frames, seconds or parts of the clip with commas between "
            f"them, as in {_EXAMPLE}."
        )
    place = moment.frame(frames - 1, fps)  # a part of the way from the first frame to the last
    if not 0 <= place <= frames - 1:
        raise InvalidInputError(
            f"The place {moment.of_video(frames - 1, fps)} is outside the clip, whose {frames} frames are 0 to "
            f"{frames - 1}. Put the picture earlier, or make the clip longer."
        )
    return round(place)


def _check_count(pictures: int, frames: int) -> None:
    if pictures > frames:
        raise InvalidInputError(
            f"{pictures} pictures have no room in {frames} frames. Give fewer pictures, or make the clip longer."
        )
