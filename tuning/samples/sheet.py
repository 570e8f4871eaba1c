"""The sheet of a training's samples: a row for each prompt, a column for each time, in a picture and a video."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ...media.contact_sheet import SheetNames, contact_sheet
from ...media.faults import writing_to
from ...media.pictures import to_bytes
from ...media.video_writing import write_video
from ...media.whole import replace_file, unfinished_file

_WIDEST = 3840
"""Pixels of all columns: a video of more is played by few programs."""
_NAME = 32
"""Letters of a prompt beside its row."""
_FORMAT, _QUALITY = "mp4-h264", 90


class SheetFiles(NamedTuple):
    """Where a sheet lies, without an ending, and how many frames a second its video has."""

    place: Path
    fps: float

    @property
    def picture(self) -> Path:
        """Of pictures; of clips their middle frame."""
        return self.place.with_name(f"{self.place.name}.png")

    @property
    def video(self) -> Path:
        """Of clips."""
        return self.place.with_name(f"{self.place.name}.mp4")


def shown_steps(made: Sequence[int], width: int) -> list[int]:
    """The columns that a sheet has room for, evenly spread: the first and the last are always among them.

    Args:
        made: after which steps there are samples, in order.
        width: of one, in pixels.
    """
    room = max(2, _WIDEST // max(width, 1))
    if len(made) <= room:
        return list(made)
    return [made[round(number * (len(made) - 1) / (room - 1))] for number in range(room)]


def save_sheet(
    rows: Sequence[Sequence[Tensor]], prompts: Sequence[str], steps: Sequence[int], files: SheetFiles
) -> Path:
    """Writes the sheet in place of the one before, and gives the file to look at: of clips the video.

    Args:
        rows: for each prompt, in the order of `steps`, clips [F, h, w, 3], bytes, all of one size.

    Raises:
        OutputError: it cannot be written.
        MissingPackageError: of clips, see `write_video`.
    """
    names = SheetNames(
        tuple(textwrap.shorten(prompt, _NAME, placeholder="...") or "no words" for prompt in prompts),
        tuple("before" if step == 0 else f"step {step}" for step in steps),
    )
    longest = max(len(clip) for row in rows for clip in row)
    middle = [[clip[len(clip) // 2 : len(clip) // 2 + 1] for clip in row] for row in rows]
    _save_picture(next(contact_sheet(middle, names)), files.picture)
    if longest == 1:
        return files.picture
    write_video(contact_sheet(rows, names), files.video, format=_FORMAT, fps=files.fps, quality=_QUALITY)
    return files.video


def _save_picture(picture: Tensor, target: Path) -> None:
    from PIL import Image

    with writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_file(target.parent, "png") as part:
            Image.fromarray(to_bytes(picture)).save(part, compress_level=4)
            replace_file(part, target)
