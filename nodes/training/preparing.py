"""A preparation on the canvas: what the widgets mean, what is refused before it, and what goes on from it."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...common.checking import check_string
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.printable import printable_name
from ...common.shapes import PictureSize
from ...media.place import refuse_outside
from ...tuning.datasets import PictureShape, read_dataset
from ...tuning.preparation.captions import written_by
from ...tuning.preparation.prepare import Ways
from ...tuning.preparation.settings import OPTIONAL, Preparation, with_filters
from ...tuning.preparation.whole import MadeDataset, check_packages, make_dataset
from ..hosts.host import host
from .clips import TrainingClips, place_of
from .prepare_inputs import NOTHING_MORE


class PrepareWidgets(NamedTuple):
    """What the widgets say, in their order; see `Preparation` and `Ways`."""

    source: str
    name: str
    trigger: str
    fps: float
    longest: int
    shortest: int
    side: int
    width: int
    height: int
    filters: str
    soft_cuts: bool
    keep_bars: bool
    measure: str
    address: str
    server_model: str

    def settings(self) -> Preparation:
        """What clips are to be.

        Raises:
            InvalidInputError: that cannot be.
            MissingPackageError: it takes a package that is not installed.
        """
        usual = Preparation(
            fps=self.fps,
            longest=self.longest,
            shortest=self.shortest,
            side=self.side,
            resolution=PictureSize(self.width, self.height),
            soft_cuts=self.soft_cuts,
            keep_bars=self.keep_bars,
            measured=_measured(self.measure),
        )
        settings = with_filters(usual, _filters(self.filters))
        check_packages(settings)
        return settings

    def ways(self) -> Ways:
        """How the work is done: in this process, as others would start the host anew.

        Raises:
            InvalidInputError: the server's address is none.
        """
        address, runtime = self.address.strip(), host().runtime
        captioner = written_by(address, self.server_model.strip(), runtime) if address else None
        return Ways(trigger=self.trigger.strip(), captioner=captioner)


def made_dataset(source: str, name: str, settings: Preparation, ways: Ways) -> MadeDataset:
    """The clips of the videos that `source` names; raises as `make_dataset`."""
    made = make_dataset(place_of(source), host().output_folder() / _checked_name(name), settings, ways, host().runtime)
    for doubt in made.doubts():
        logger.warning("%s", doubt)
    made.check()
    return made


def told_of(made: MadeDataset | None) -> tuple[TrainingClips, str]:
    """What goes on from here; nothing of a run that is planned."""
    if made is None:
        return TrainingClips(()), ""
    told = "\n".join([made.counted(), *made.doubts(), f"The report: {made.page}"])
    logger.info("%s", made.counted())
    host().show_text(told)
    return TrainingClips(tuple(read_dataset(made.table, PictureShape(*made.prepared.settings.resolution)))), told


def _measured(measure: str) -> tuple[str, ...]:
    if measure == NOTHING_MORE:
        return ()
    return OPTIONAL if measure not in OPTIONAL else (measure,)


def _filters(text: str) -> list[str]:
    """Filters that are written with spaces, commas or lines between them."""
    check_string(text, "filters")
    return [each for each in re.split(r"[\s,]+", text) if each]


def check_widgets(source: str | None, name: str | None, filters: str | None) -> None:
    """What can be refused before anything runs; what comes over a wire is None."""
    if name is not None:
        _checked_name(name)
    if source is not None and not place_of(source).is_dir():
        raise InvalidInputError(
            f"There is no folder {printable_name(source)}. Write the path of the one with the videos as source, or a "
            "name in ComfyUI's input folder."
        )
    texts = _filters(filters or "")
    with_filters(Preparation(measured=OPTIONAL), texts)


def _checked_name(name: str) -> str:
    """The name of the folder of results.

    Raises:
        InvalidInputError: it is none, or leads out of the output folder.
    """
    check_string(name, "name")
    plain = name.strip()
    if plain in ("", "."):
        raise InvalidInputError("The clips go to a folder of their own. Write its name as name, such as clips/cats.")
    refuse_outside(plain, host().output_folder())
    return plain
