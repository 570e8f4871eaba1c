"""The work on one video or clip, which other processes and machines can do."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ...common.errors import InvalidInputError
from ...common.records import record
from .cuts import Shot, find_shots
from .excerpts import Excerpt
from .keeping import kept, key_of
from .measuring import Measured, measure
from .results.clip_files import write_clip
from .results.dataset import CLIPS
from .results.records import Clip, RefusedVideo
from .settings import Preparation
from .sources import RawVideo, read_source

FOUND = "found"
"""The folder of what was found out: it may be removed at any time, and is found out again then."""


class Found(NamedTuple):
    """A video and its shots, or why there are none."""

    source: RawVideo | None
    shots: tuple[Shot, ...] = ()
    refused: tuple[RefusedVideo, ...] = ()


@record
class Preparing:
    """One run: its folders and settings. It is sent to other processes; every method gives what it found."""

    folder: Path
    out: Path
    settings: Preparation

    def look_at(self, path: Path) -> Found:
        """A video's facts and shots."""
        name = path.relative_to(self.folder).as_posix()
        try:
            source = read_source(path, self.folder)
            soft = self.settings.soft_cuts
            key = key_of("shots", source.digest, soft)
            found = kept(
                self.out / FOUND, key, lambda: [*map(list, find_shots(source.video, source.shown_size, soft=soft))]
            )
            return Found(source, tuple(Shot(*ends) for ends in found))
        except (InvalidInputError, OSError) as error:
            return Found(None, refused=(RefusedVideo(name, str(error)),))

    def measure(self, task: tuple[RawVideo, Excerpt]) -> Measured | RefusedVideo:
        """A clip's scores."""
        source, excerpt = task
        facts = source.digest, excerpt.numbers, self.settings.fps, sorted(self.settings.measured)
        try:
            found = kept(
                self.out / FOUND,
                key_of("clip", *facts),
                lambda: measure(source.video, source.shown_size, excerpt, self.settings).as_json(),
            )
        except InvalidInputError as error:
            return RefusedVideo(f"{source.name}, {excerpt.start_s:.2f} s", str(error))
        return Measured.of_json(found)

    def write(self, clip: Clip) -> bool:
        """A clip's file."""
        return write_clip(clip, self.out / CLIPS, self.settings)
