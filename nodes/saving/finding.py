"""Finding a result again by the name that the canvas gives it."""

from __future__ import annotations

import os
from pathlib import Path

from ...common.errors import InvalidInputError


def result_in_subfolder(name: str, output: Path) -> Path | None:
    """The only file of this bare name below the output folder; None where there is none, or `name` names a folder.

    The canvas offers results in the dropdowns of files and names them without the subfolder that they were saved in
    (front end 1.58.1: "clip_00001_.mp4 [output]" for video/clip_00001_.mp4).

    Raises:
        InvalidInputError: several subfolders hold a file of this name.
    """
    if not name or os.path.basename(name.replace("\\", "/")) != name:
        return None
    found = [Path(folder, name) for folder, _, files in os.walk(output) if name in files]
    if len(found) > 1:
        places = ", ".join(sorted(path.relative_to(output).as_posix() for path in found)[:3])
        raise InvalidInputError(
            f"{len(found)} results are called {name}: {places}. Write its subfolder before the name, or upload the one "
            "that is meant."
        )
    return found[0] if found else None
