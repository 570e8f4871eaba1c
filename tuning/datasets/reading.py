"""The clips of a dataset, found before the models are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ...common.errors import InvalidInputError
from ...common.log import logger
from ..settings import TrainingSettings
from .clips import ClipFile, DatasetPart, PictureShape
from .finding import clips_of, read_dataset

Found = tuple[tuple[ClipFile, DatasetPart], ...]


class FoundClips(NamedTuple):
    """What a training learns from, and clips of a more general kind that are to stay as they are; see `PriorSettings`.

    `prior` is empty where there are none, or where the model is to make them.
    """

    clips: Found
    prior: Found = ()

    def contents(self) -> tuple[object, ...]:
        """What tells them from others, wherever they lie: a value for `digest`."""
        files = {path for clip, _ in (*self.clips, *self.prior) for path in (clip.path, clip.control, clip.mask)}
        sums = {path: _sum(path) for path in files if path is not None}
        return tuple(
            (
                *(sums.get(path, "") for path in (clip.path, clip.control, clip.mask) if path is not None),
                (clip.caption, clip.first, clip.count, clip.control is not None, clip.mask is not None),
                replace(part, folder=None, lines=None, controls=None, masks=None),
            )
            for clips in self
            for clip, part in clips
        )


def found_clips(parts: Sequence[DatasetPart], prior: Sequence[DatasetPart] = ()) -> FoundClips:
    """The clips of some parts of a dataset, and of those of a prior; clips without a caption are told.

    Raises:
        WanDirectorError: see `clips_of`.
    """
    found = FoundClips(tuple(_each(parts)), tuple(_each(prior)))
    _tell_of_silent([clip for clip, _ in found.clips])
    return found


def found_by(settings: TrainingSettings) -> FoundClips:
    """The clips that settings name.

    Raises:
        WanDirectorError: they are not there, or a prior is both named and to be made.
    """
    data, prior = settings.dataset, settings.prior
    shape = PictureShape(*data.resolution)
    parts = read_dataset(settings.folder / data.source, shape, data.frames)
    if not prior.source:
        return found_clips(parts)
    if prior.prompts:
        raise InvalidInputError(
            "[prior] has a source and prompts: clips of yours, and ones that the model makes. Leave one of both out."
        )
    return found_clips(parts, read_dataset(settings.folder / prior.source, shape, data.frames))


def _each(parts: Sequence[DatasetPart]) -> Iterator[tuple[ClipFile, DatasetPart]]:
    for part in parts:
        for clip in clips_of(part):
            yield clip, part


def _sum(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _tell_of_silent(clips: Sequence[ClipFile]) -> None:
    silent = [clip.path.name for clip in clips if not clip.caption]
    if silent:
        logger.warning(
            "%d of %d clips %s an empty caption, as %s: what it shows is learned for every prompt. Write it into the "
            "text beside it.",
            len(silent),
            len(clips),
            "has" if len(silent) == 1 else "have",
            silent[0],
        )
