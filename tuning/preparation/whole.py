"""A whole preparation, as every front of it does it: the packages, the clips, the report, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...common.errors import InvalidInputError
from ...common.records import record
from ...engine.runtime import Runtime
from .packages import say_which_opencv, scene_detection, soft_cut_network
from .prepare import Ways, prepare
from .results.dataset import TOML
from .results.records import PreparedClips
from .results.report import write_report
from .scores.optional import check_package
from .settings import Preparation


@record
class MadeDataset:
    """What came of it.

    Attributes:
        prepared: all that was found.
        table: the dataset's TOML.
        page: the report.
        trigger: the word that each caption was to have.
    """

    prepared: PreparedClips
    table: Path
    page: Path
    trigger: str

    def doubts(self) -> Iterator[str]:
        """What somebody should look at: videos that are left out, clips without a caption."""
        for refused in self.prepared.refused:
            yield refused.told()
        silent = sum(clip.caption in ("", self.trigger) for clip in self.prepared.kept)
        if silent:
            yield (
                f"{silent} {'clip has' if silent == 1 else 'clips have'} no caption"
                f"{' but the trigger' if self.trigger else ''}. Write it into the .txt file beside the clip, give the "
                "video one, or name a model that writes captions."
            )

    def counted(self) -> str:
        """How many clips are kept, and why the others are not."""
        reasons = ", ".join(f"{word} {count}" for word, count in self.prepared.reasons().items())
        dropped = f"; dropped for: {reasons}" if reasons else ""
        return f"{len(self.prepared.kept)} of {len(self.prepared.clips)} clips are kept{dropped}."

    def check(self) -> None:
        """Refuses a dataset without clips.

        Raises:
            InvalidInputError: none is kept.
        """
        if not self.prepared.kept:
            raise InvalidInputError(
                f"None of {len(self.prepared.clips)} clips is kept. Look into {self.page} for the reasons, and widen "
                "the filters."
            )


def check_packages(settings: Preparation) -> None:
    """Refuses what packages are missing for, before anything is read.

    Raises:
        MissingPackageError: one is not installed.
    """
    scene_detection()
    say_which_opencv()
    if settings.soft_cuts:
        soft_cut_network()
    for name in settings.measured:
        check_package(name)


def make_dataset(folder: Path, out: Path, settings: Preparation, ways: Ways, runtime: Runtime) -> MadeDataset:
    """Prepares the videos of a folder; raises as `prepare`."""
    prepared = prepare(folder, out, settings, ways, runtime)
    return MadeDataset(prepared, out / TOML, write_report(prepared, out), ways.trigger)
