"""What travels from a dataset to a training: its parts, and how the widgets name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ...common.checking import check_string
from ...common.errors import InvalidInputError
from ...common.printable import printable_name
from ...common.records import record
from ...tuning.datasets import DatasetPart, PictureShape, read_dataset
from ...tuning.datasets.clips import Extraction
from ...tuning.datasets.finding import files_of
from ..api import io
from ..hosts.host import host

ClipsType = io.Custom("WAN_DIRECTOR_DATASET")
TABLE = ".toml"


@record
class TrainingClips:
    """Clips to learn from, and clips of a more general kind that are to stay as they are; on WAN_DIRECTOR_DATASET."""

    parts: tuple[DatasetPart, ...]
    prior: tuple[DatasetPart, ...] = ()

    def with_more(self, more: TrainingClips | None) -> TrainingClips:
        """These and others."""
        return self if more is None else TrainingClips((*self.parts, *more.parts), (*self.prior, *more.prior))


class ClipWidgets(NamedTuple):
    """What the widgets of a dataset say of its clips; see `DatasetPart`."""

    width: int
    height: int
    frames: str
    repeats: int
    batch_size: int
    buckets: bool
    enlarge: bool
    extraction: Extraction
    fps: float
    caption_ending: str

    def parts(self, source: str) -> tuple[DatasetPart, ...]:
        """The parts of a dataset that a widget names.

        Raises:
            WanDirectorError: there is none, or it is in no form that is read.
        """
        place, lengths = place_of(source), lengths_of(self.frames)
        parts = read_dataset(place, PictureShape(self.width, self.height), lengths)
        if place.suffix.lower() == TABLE:
            return tuple(parts)
        return tuple(self._said(part, bool(lengths)) for part in parts)

    def _said(self, part: DatasetPart, has_lengths: bool) -> DatasetPart:
        return replace(
            part,
            num_repeats=self.repeats,
            batch_size=self.batch_size,
            is_bucketed=self.buckets,
            may_enlarge=self.enlarge,
            extraction=self.extraction if part.is_video and has_lengths else part.extraction,
            fps=self.fps if part.is_video else 0.0,
            caption_extension=self.caption_ending,
        )


def place_of(source: str) -> Path:
    """Where the clips lie that a widget names.

    Raises:
        InvalidInputError: it names none.
    """
    check_string(source, "source")
    if not source.strip():
        raise InvalidInputError(
            "No dataset is named. Write the folder with your pictures or videos and their captions as source, or a "
            ".toml or .jsonl that lists them."
        )
    return host().clips_place(source.strip())


def lengths_of(frames: str) -> tuple[int, ...]:
    """The lengths written as 17, 33; none stands for whole clips.

    Raises:
        InvalidInputError: something else is written.
    """
    check_string(frames, "frames")
    try:
        return tuple(int(each) for each in frames.replace(",", " ").split())
    except ValueError:
        raise InvalidInputError(
            f"frames are whole numbers with commas between them, got '{printable_name(frames)}'. Write 33, or 17, 33, "
            "or nothing for whole clips."
        ) from None


def stamp_of(parts: Sequence[DatasetPart]) -> tuple[object, ...]:
    """Changes when files, captions, control videos or masks do; raises as `files_of`."""
    files = [
        (path, clip.caption)
        for part in parts
        for clip in files_of(part)
        for path in (clip.path, clip.control, clip.mask)
        if path is not None
    ]
    return tuple((str(path), caption, path.stat().st_mtime_ns, path.stat().st_size) for path, caption in files)
