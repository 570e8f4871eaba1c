"""Finished clips of a film that is not, on disk: the next run of it has them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ...common.log import logger
from ...common.records import record
from ...media.lossless import PackedFrames
from ...model_loading.files.file_type import human_bytes
from ..resuming.digest import NoDigest, digest
from ..resuming.folder import NotSaved, StateFolder

DAYS, LIMIT_BYTES = 14.0, 40_000_000_000
"""How long a clip is kept when nobody comes back, and what the clips of all films may take."""


@record(eq=False)
class FinishedClip:
    """A clip of a film, made.

    Attributes:
        frames: those that go to the film, as a file has them.
        tail: its last frames [n, H, W, 3], as they were made, which the next clip is given.
    """

    frames: PackedFrames
    tail: Tensor


CLIP_KINDS = (FinishedClip, PackedFrames)


class KeptFilm(Protocol):
    """A film, of which finished clips are kept until it ends."""

    @property
    def keeps(self) -> bool:
        """Whether clips are worth packing."""
        ...

    @property
    def finished(self) -> int:
        """How many clips are on disk, from the first on."""
        ...

    def find(self, decisive: Callable[[], Any]) -> FinishedClip | None:
        """The clip that is made of this, from an earlier run; it is the one that `keep` means.

        Args:
            decisive: gives all that the clip depends on; asked only where clips are kept.
        """
        ...

    def keep(self, clip: FinishedClip) -> bool:
        """Puts the clip that was not found to disk; whether it is there."""
        ...

    def end(self) -> None:
        """The film is in safety: nothing of it is needed any more."""
        ...


class KeptFilms(Protocol):
    """Where films are kept."""

    def begin(self) -> KeptFilm:
        """A film that begins now."""
        ...


class NoFilmsKept:
    """No clip is kept: also of each film."""

    keeps = False
    finished = 0

    def begin(self) -> NoFilmsKept:
        """The same for every film."""
        return self

    def find(self, decisive: Callable[[], Any]) -> None:
        """Nothing."""

    def keep(self, clip: FinishedClip) -> bool:
        """It is not."""
        return False

    def end(self) -> None:
        """There is nothing to forget."""


NO_FILMS_KEPT = NoFilmsKept()
"""What holds where nobody says where to keep them."""


@record(slots=False)
class FilmsInFolder:
    """Clips are kept in a folder."""

    folder: StateFolder

    def begin(self) -> FilmInFolder:
        return FilmInFolder(self.folder)


@dataclass
class FilmInFolder:
    """See `KeptFilm`."""

    folder: StateFolder
    keeps: bool = True
    finished: int = 0
    _keys: list[str] = field(default_factory=list)

    def find(self, decisive: Callable[[], Any]) -> FinishedClip | None:
        if not self.keeps:
            return None
        try:
            key = digest(decisive())
        except NoDigest as unknown:
            logger.info("Where this film is broken off, it starts anew: it depends on %s.", unknown)
            self.keeps = False
            return None
        self._keys.append(key)
        found = self.folder.load(key, CLIP_KINDS, torch.device("cpu"))
        if not isinstance(found, FinishedClip):
            return None
        self.finished += 1
        return found

    def keep(self, clip: FinishedClip) -> bool:
        if not self.keeps:
            return False
        try:
            self.folder.save(self._keys[-1], clip, CLIP_KINDS)
        except NotSaved as refusal:
            self._stop(str(refusal))
            return False
        self.finished += 1
        if self.folder.tidy(*self._keys) > self.folder.limit_bytes:
            self._stop(f"its clips take {human_bytes(self.folder.limit_bytes)}, which is what films may take")
        return True

    def end(self) -> None:
        while self._keys:
            self.folder.forget(self._keys.pop())

    def _stop(self, reason: str) -> None:
        self.keeps = False
        folder = self.folder.path
        logger.warning("From here on no clip of this film is kept in %s: %s. The film goes on.", folder, reason)
