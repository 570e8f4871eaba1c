"""Reading input files: pictures and videos. A plan of a run puts outlines of them here, see `planning.input_files`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ...media.picture_reading import read_pictures
from ...media.sound.clip import Sound
from ...media.sound.reading import WHOLE_SOUND, SoundSpan, probe_sound, read_sound
from ...media.video_reading import WHOLE, Cut, Fitting, VideoFile, probe_video, read_frames, read_video


class InputFiles(Protocol):
    """Who reads them."""

    def is_there(self, path: Path) -> bool:
        """Whether there is such a file."""
        ...

    def pictures(self, path: Path) -> tuple[Tensor, Tensor | None]:
        """See `picture_reading.read_pictures`."""
        ...

    def probe(self, path: Path) -> VideoFile:
        """See `video_reading.probe_video`."""
        ...

    def video(
        self, path: Path, cut: Cut = WHOLE, *, fitting: Fitting | None = None, each: Callable[[], None]
    ) -> tuple[Tensor, float]:
        """See `video_reading.read_video`."""
        ...

    def sound(self, path: Path, span: SoundSpan = WHOLE_SOUND, *, each: Callable[[], None]) -> Sound | None:
        """The sound of a file, see `sound.reading.read_sound`; None where it has none."""
        ...

    def frames(self, path: Path, cut: Cut = WHOLE) -> Iterator[Tensor]:
        """See `video_reading.read_frames`."""
        ...


class FilesOnDisk:
    """They are read."""

    def is_there(self, path: Path) -> bool:
        return os.path.isfile(path)  # False for names too long

    def pictures(self, path: Path) -> tuple[Tensor, Tensor | None]:
        return read_pictures(path)

    def probe(self, path: Path) -> VideoFile:
        return probe_video(path)

    def video(
        self, path: Path, cut: Cut = WHOLE, *, fitting: Fitting | None = None, each: Callable[[], None]
    ) -> tuple[Tensor, float]:
        return read_video(path, cut, fitting=fitting, each=each)

    def sound(self, path: Path, span: SoundSpan = WHOLE_SOUND, *, each: Callable[[], None]) -> Sound | None:
        track = probe_sound(path)
        return None if track is None else read_sound(path, track, span, each=each)

    def frames(self, path: Path, cut: Cut = WHOLE) -> Iterator[Tensor]:
        return read_frames(path, cut)


def existing_place(name: str, folders: Sequence[Path]) -> Path:
    """The file or folder called `name` in the first of some folders that has it; a whole path is that itself."""
    places = [folder / name for folder in folders]
    return next((place for place in places if os.path.exists(place)), places[0])  # False for names too long
