"""What becomes of each clip and of each video that cannot be used."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ....common.records import record
from ..excerpts import Excerpt
from ..keeping import key_of
from ..measuring import Measured
from ..settings import Preparation
from ..sources import RawVideo


@record
class Clip:
    """A clip, and what was found out about it.

    Attributes:
        width, height: that it is written in.
        why: the reasons for which it is dropped; none when it is kept.
    """

    source: RawVideo
    excerpt: Excerpt
    measured: Measured
    width: int
    height: int
    why: tuple[str, ...] = ()
    caption: str = ""

    @property
    def is_kept(self) -> bool:
        return not self.why

    def name(self, settings: Preparation) -> str:
        """Its file's name without an ending: readable, and another for another content or form."""
        facts = (self.source.digest, self.excerpt.numbers, settings.fps, self.width, self.height, self.measured.bars)
        stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(self.source.name).with_suffix("").as_posix())[-60:].lstrip(".")
        return f"{stem}_{self.excerpt.numbers[0]:06}_{key_of(*facts)[:8]}"


@record
class RefusedVideo:
    """A video, or part of one, that cannot be used, and why."""

    name: str
    why: str

    def told(self) -> str:
        """One sentence that names it once, and what to do."""
        own = f"{PurePosixPath(self.name).name} "
        reason = f"it {self.why[len(own) :]}" if self.why.startswith(own) else self.why
        return f"{self.name} is left out: {reason}"


@record
class PreparedClips:
    """All that a run found."""

    clips: tuple[Clip, ...]
    refused: tuple[RefusedVideo, ...]
    settings: Preparation

    @property
    def kept(self) -> tuple[Clip, ...]:
        return tuple(clip for clip in self.clips if clip.is_kept)

    def reasons(self) -> dict[str, int]:
        """Score, or other reason -> how many clips were dropped for it; a clip may have several."""
        found: dict[str, int] = {}
        for clip in self.clips:
            for why in clip.why:
                word = why.split(" ", 1)[0]
                found[word] = found.get(word, 0) + 1
        return dict(sorted(found.items(), key=lambda each: -each[1]))


def reasons_of(measured: Measured, settings: Preparation) -> tuple[str, ...]:
    """Why a clip is dropped: the scores outside their range."""
    scores = measured.scores
    return tuple(
        f"{name} is {scores[name]:.4g}, kept {values}"
        for name, values in settings.filters
        if name in scores and not values.holds(scores[name])
    )
