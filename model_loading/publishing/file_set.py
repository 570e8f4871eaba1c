"""Several published files at once: which are there, whether the others fit onto the disks, and one after another."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ...common.errors import DownloadError
from ..files.file_type import human_bytes
from .causes import TransferError
from .download import RESERVE_BYTES, begun_bytes, download, fault_of, published_size
from .known_files import KnownFile
from .transfer import OnBytes


class Wanted(NamedTuple):
    """A file, the folder that it goes into, and all the paths at which it is looked for."""

    file: KnownFile
    folder: Path
    places: tuple[Path, ...]


class Standing(NamedTuple):
    """How far a wanted file is.

    Attributes:
        state: "there" and sound by its header and size, "begun" by a download that was interrupted, else "missing";
            "unfit" is a file of that name which cannot be used as it is.
        path: where it lies, or will.
        size_bytes: of the whole file; None where neither is known nor the server says.
        here_bytes: of these, how many are here.
    """

    wanted: Wanted
    state: Literal["there", "begun", "missing", "unfit"]
    path: Path
    size_bytes: int | None
    here_bytes: int = 0

    @property
    def missing_bytes(self) -> int:
        """That a download brings; 0 where the size is not known."""
        return 0 if self.state == "there" else max(0, (self.size_bytes or 0) - self.here_bytes)


def standing(wanted: Wanted) -> Standing:
    """What is here of a file. Contents are not read; of a file whose size is not known the server is asked."""
    file = wanted.file
    path = next((place for place in wanted.places if place.is_file()), None)
    if path is not None and fault_of(file, path) is None:
        size = path.stat().st_size
        return Standing(wanted, "there", path, size, size)
    target = wanted.folder / file.name
    size = file.size_bytes or _asked_size(file)
    if path is not None:
        return Standing(wanted, "unfit", path, size)
    begun = begun_bytes(file, wanted.folder)
    return Standing(wanted, "begun" if begun else "missing", target, size, begun)


def check_space(standings: Iterable[Standing]) -> str:
    """What is free on the disks of what is missing, in words ("120 GB on the disk of models/vae").

    Raises:
        DownloadError: it does not fit; the sentence names each disk that has too little, once.
    """
    needs: dict[int, tuple[Path, int]] = {}
    for each in standings:
        if each.state != "there":
            place = _existing(each.wanted.folder)
            disk = place.stat().st_dev
            first, count = needs.get(disk, (each.wanted.folder, RESERVE_BYTES))
            needs[disk] = (first, count + each.missing_bytes)
    free = {disk: shutil.disk_usage(_existing(folder)).free for disk, (folder, _) in needs.items()}
    short = [
        f"{human_bytes(needed)} on the disk of {folder}, which has {human_bytes(free[disk])} free"
        for disk, (folder, needed) in needs.items()
        if free[disk] < needed
    ]
    if short:
        raise DownloadError(
            f"The missing files need {', and '.join(short)}. Make room, or use folders on another disk."
        )
    return ", ".join(f"{human_bytes(free[disk])} on the disk of {folder}" for disk, (folder, _) in needs.items())


def fetch_all(
    standings: Sequence[Standing],
    on_file: Callable[[KnownFile], OnBytes],
    on_end: Callable[[KnownFile, Path | DownloadError], None],
) -> list[KnownFile]:
    """Downloads what is not there, one file after another; one that fails does not stop those after it.

    Args:
        on_file: told of each file that begins; gives what is told of its bytes.
        on_end: told where a file lies, or why it does not.

    Returns:
        The files that failed.
    """
    failed = []
    for each in standings:
        if each.state == "there":
            continue
        file = each.wanted.file
        folder = each.path.parent if each.state == "unfit" else each.wanted.folder
        try:
            path = download(file, folder, on_bytes=on_file(file))
        except DownloadError as error:
            failed.append(file)
            on_end(file, error)
        else:
            on_end(file, path)
    return failed


def _asked_size(file: KnownFile) -> int | None:
    try:
        return published_size(file)
    except (TransferError, DownloadError):  # said again, with its cause, when the file is downloaded
        return None


def _existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
