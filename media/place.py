"""Where the next file of a name goes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..common.errors import InvalidInputError


class SavePlace(NamedTuple):
    """Where the next file of a name goes: `folder / f"{name}_{counter:05}_.ext"`, if no other run is faster.

    `subfolder` leads from the host's output folder to `folder`, with forward slashes.
    """

    folder: Path
    name: str
    counter: int
    subfolder: str

    def subfolder_of(self, file: Path) -> str:
        """The way from the output folder to the folder of a file in `folder` or below."""
        way = (Path(self.subfolder) / file.parent.relative_to(self.folder)).as_posix()
        return "" if way == "." else way


def refuse_outside(prefix: str, output: Path) -> None:
    """Refuses a file name that leads out of the output folder.

    Raises:
        InvalidInputError: it does.
    """
    try:
        # A drive is absolute on Windows only, but nowhere meant as a folder's name.
        is_inside = not re.match(r"[A-Za-z]:[\\/]", prefix) and (output / prefix).resolve().is_relative_to(
            output.resolve()
        )
    except (OSError, RuntimeError):  # links in a circle
        is_inside = False
    if not is_inside:
        raise InvalidInputError(
            f"The file name '{prefix}' leads out of the output folder {output}. Use a name inside it."
        )
