"""A camera's path as a user writes it: places to go through, or a pose for each frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import InvalidInputError
from ...dit.conditioning.camera import Lens
from ...dit.conditioning.camera_moves import poses

_EXAMPLE = '[{"frame": 0}, {"frame": 80, "move": [1, 0, 2], "turn": [0, 20, 0]}]'
_MATRIX, _WHOLE_MATRIX, _CAMERA_LINE = 12, 16, 19
_MOST_CHARACTERS = 5_000_000
_LARGEST = 1e15
"""Below the largest float32 even when multiplied; times of the files are microseconds."""


class WrittenPath(NamedTuple):
    """Poses [F, 4, 4], see `camera_rays`; the lens of each frame, if they are written.

    `is_exact`: each frame has its own, none was found between two others.
    """

    poses: np.ndarray
    lenses: tuple[Lens, ...] | None
    is_exact: bool


def read_path(text: str, frames: int, speed: float) -> WrittenPath:
    """The path that JSON says.

    Either a list of places {"frame": n, "move": [right, down, forward], "turn": [about these, in degrees]}, with even
    ways between them; or for each frame the camera's axes and place as a matrix of 3 or 4 rows (camera to world); or
    for each frame 19 numbers as in the files of RealEstate10K and CameraCtrl: time, fx, fy, cx, cy, two that do not
    count, and 3 rows (world to camera).

    Args:
        speed: places are so many times as far, and turned so many times as much.

    Raises:
        InvalidInputError: it is none of these.
    """
    if len(text) > _MOST_CHARACTERS:
        raise InvalidInputError(
            f"The path has {len(text)} characters, and at most {_MOST_CHARACTERS} are read. Write fewer places."
        )
    try:
        path = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"The path is no JSON ({error}). Write it as in {_EXAMPLE}.") from None
    if not isinstance(path, list) or not path:
        raise InvalidInputError(f"The path must be a list with something in it. Write it as in {_EXAMPLE}.")
    if all(isinstance(each, dict) for each in path):
        return WrittenPath(_between(path, frames, speed), None, is_exact=False)
    rows = [_numbers(each, f"Frame {index} of the path") for index, each in enumerate(path)]
    if len(rows) != frames:
        raise InvalidInputError(
            f"The path has poses for {len(rows)} frames, but the video has {frames}. Write one for each frame, or a "
            f"few places as in {_EXAMPLE}."
        )
    if {len(row) for row in rows} == {_CAMERA_LINE}:
        return WrittenPath(np.linalg.inv(_checked([row[7:] for row in rows])), _lenses(rows), is_exact=True)
    return WrittenPath(_checked(rows), None, is_exact=True)


def _between(places: Sequence[dict[str, Any]], frames: int, speed: float) -> np.ndarray:
    """Poses with even ways between places; before the first and after the last the camera rests."""
    unknown = {key for place in places for key in place} - {"frame", "move", "turn"}
    if unknown:
        raise InvalidInputError(f"A place of the path has {sorted(unknown)[0]!r}. It may have frame, move and turn.")
    at = _frames_of(places, frames)
    ways, turns = (
        np.array([_three(place.get(key, [0, 0, 0]), key, frame) for place, frame in zip(places, at)]) * speed
        for key in ("move", "turn")
    )
    steps = np.arange(frames)
    way, turn = (np.stack([np.interp(steps, at, each[:, axis]) for axis in range(3)], 1) for each in (ways, turns))
    return poses(way, np.radians(turn))


def _frames_of(places: Sequence[dict[str, Any]], frames: int) -> list[int]:
    """Where the places stand, each later than the one before."""
    written = [place.get("frame") for place in places]
    at = [frame for frame in written if isinstance(frame, int) and not isinstance(frame, bool) and 0 <= frame < frames]
    if len(at) < len(written) or any(later <= earlier for earlier, later in zip(at, at[1:])):
        raise InvalidInputError(
            f"The places of the path must stand at frames from 0 to {frames - 1}, each later than the one before, got "
            f"{written[:10]}."
        )
    return at


def _three(value: Any, key: str, frame: int) -> list[float]:
    numbers = _numbers(value, f"{key} at frame {frame} of the path")
    if len(numbers) != 3:
        raise InvalidInputError(
            f"{key} at frame {frame} of the path must have 3 numbers (right, down, forward), got {len(numbers)}."
        )
    return numbers


def _numbers(value: Any, name: str) -> list[float]:
    """A list of numbers, or of lists of them, as one list.

    Raises:
        InvalidInputError: it is none.
    """
    rows = value if isinstance(value, list) else []
    flat = [each for row in rows for each in (row if isinstance(row, list) else [row])]
    if not flat or any(isinstance(each, bool) or not isinstance(each, int | float) for each in flat):
        raise InvalidInputError(f"{name} must be numbers. Write the path as in {_EXAMPLE}.")
    if not all(abs(each) < _LARGEST for each in flat):
        raise InvalidInputError(f"{name} must be finite numbers, from -{_LARGEST:g} to {_LARGEST:g}.")
    return [float(each) for each in flat]


def _checked(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Poses [F, 4, 4] of 12 or 16 numbers each, whose axes are of length 1 and stand upright on each other."""
    if {len(row) for row in rows} not in ({_MATRIX}, {_WHOLE_MATRIX}):
        raise InvalidInputError(
            "Each frame of the path must have a matrix of 3 or 4 rows of 4 numbers, or all 19 numbers as in the files "
            f"of RealEstate10K, got {sorted({len(row) for row in rows})[:5]} numbers. A few places are written as in "
            f"{_EXAMPLE}."
        )
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    matrices[:, :3] = np.array(rows)[:, :_MATRIX].reshape(-1, 3, 4)
    axes = matrices[:, :3, :3]
    crooked = np.abs(axes @ axes.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) > 0.01
    if crooked.any():
        raise InvalidInputError(
            f"The axes of the camera in frame {int(crooked.argmax())} of the path are no right angles of length 1. "
            "Write a rotation in the first 3 columns, and the place in the 4th."
        )
    return matrices


def _lenses(rows: Sequence[Sequence[float]]) -> tuple[Lens, ...]:
    lenses = tuple(Lens(*row[1:5]) for row in rows)
    if any(lens.fx <= 0 or lens.fy <= 0 for lens in lenses):
        raise InvalidInputError("A lens of the path has a focal length that is not above 0.")
    return lenses
