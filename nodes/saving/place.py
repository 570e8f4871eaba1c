"""The place of a result, asked before anything runs: is the name possible, and can something be written there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from ...common.errors import InvalidInputError, OutputError
from ...media.faults import writing_to
from ...media.place import SavePlace, refuse_outside
from ...media.whole import unfinished_file
from .names import file_prefix

PROBE_BYTES = 1 << 16
_LONGEST_ADDITION = "_00001_.latent"
_UNKNOWN_SIDE = 1280
"""Stands for a width and height that are not known before the frames are."""


def check_place(prefix: str, output: Path) -> None:
    """Checks a file name, and that a little file can be written where it leads; leaves nothing behind.

    Values of other nodes are not known yet: their placeholders are taken as they stand.

    Raises:
        InvalidInputError: no possible name: outside the output folder, too long, or no text.
        OutputError: a file is in the way, writing is not allowed, or the disk is full.
    """
    prefix = file_prefix(prefix, _UNKNOWN_SIDE, _UNKNOWN_SIDE)
    refuse_outside(prefix, output)
    folder, name = folder_and_name(prefix, output)
    base = _existing(folder)
    _check_lengths(folder.relative_to(base).parts, name, base)
    with writing_to(folder), unfinished_file(base, "test") as file:
        _fill(file)


def check_found(place: SavePlace) -> None:
    """Checks a place once all values of its name are known.

    Raises:
        InvalidInputError: the name is too long.
        OutputError: a file is in the way.
    """
    base = _existing(place.folder)
    _check_lengths(place.folder.relative_to(base).parts, place.name, base)


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuses a result that will not fit onto the disk of a folder, however well it can be packed.

    Args:
        needed_bytes: what it takes at least.
        what: it is, in words.

    Raises:
        OutputError: it will not.
    """
    base = next((path for path in (folder, *folder.parents) if path.is_dir()), folder)
    free = shutil.disk_usage(base).free
    if free < needed_bytes:
        raise OutputError(
            f"{what} takes {needed_bytes / 1e6:,.0f} MB at least, and {free / 1e6:,.0f} MB are free at {base}. Free "
            "some room there, or choose another output folder."
        )


def folder_and_name(prefix: str, output: Path) -> tuple[Path, str]:
    """The folder that a prefix leads to, and how names in it begin."""
    return output / Path(prefix).parent, Path(prefix).name


def _existing(folder: Path) -> Path:
    """The folder, or the one above it in which it would be made.

    Raises:
        OutputError: something else has its name.
    """
    base = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if not base.is_dir():
        raise OutputError(
            f"The result cannot be written to {folder}: {base} is no folder. Move that file away, or choose another "
            "name or output folder."
        )
    return base


def _check_lengths(folders: tuple[str, ...], name: str, base: Path) -> None:
    limit = _longest_name(base)
    for each, longest in (*((folder, limit) for folder in folders), (name, limit - len(_LONGEST_ADDITION))):
        if _length(each) > longest:
            raise InvalidInputError(
                f"filename_prefix holds a name of {_length(each)} bytes, '{each[:20]}...', and {base} takes at most "
                f"{longest} there. Use a shorter name."
            )
    try:
        os.lstat(base.joinpath(*folders, name + _LONGEST_ADDITION))
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidInputError(
                f"The whole way to '{name[:20]}...' is too long for {base}. Use fewer or shorter folders in "
                "filename_prefix."
            ) from None


def _length(name: str) -> int:
    return len(name.encode("utf-16-le")) // 2 if os.name == "nt" else len(os.fsencode(name))


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return 255


def _fill(file: Path) -> None:
    with open(file, "wb") as handle:
        handle.write(bytes(PROBE_BYTES))
        handle.flush()
        os.fsync(handle.fileno())
