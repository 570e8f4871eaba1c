"""Files that appear under their name when they are whole, and under a number that no other process has."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ..media.place import SavePlace

LEFTOVER_AGE_S = 24 * 3600
"""Unfinished files of killed runs are removed when nobody has written to them for so long."""

_UNFINISHED = re.compile(r"\.wan_director-[0-9a-f]{16}\.part(\.\w+)?")
_CANNOT_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
_TURNS, _TURN_S = 50, 0.02


@contextlib.contextmanager
def unfinished_file(folder: Path, ending: str) -> Iterator[Path]:
    """An empty file of this process alone, to write to and to `publish`; it is gone at the end, whatever happens."""
    path = _new(folder, f".{ending}", lambda path: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """As `unfinished_file`, a folder."""
    path = _new(folder, "", os.mkdir)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _new(folder: Path, ending: str, make) -> Path:
    """Makes something under a new name; what has that name already, a link for one, is never followed."""
    while True:
        path = folder / f".wan_director-{secrets.token_hex(8)}.part{ending}"
        try:
            make(path)
        except FileExistsError:
            continue
        return path


def remove_leftovers(folder: Path) -> None:
    """Removes what killed runs have left in a folder long ago."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            is_ours = _UNFINISHED.fullmatch(entry.name) and not entry.is_symlink()
            if is_ours and time.time() - _last_write(entry) > LEFTOVER_AGE_S:
                shutil.rmtree(entry.path, ignore_errors=True) if entry.is_dir() else os.unlink(entry.path)


def _last_write(entry: os.DirEntry) -> float:
    return entry.stat(follow_symlinks=False).st_mtime


def publish(unfinished: Path, place: SavePlace, ending: str) -> Path:
    """Puts a finished file or folder to disk and gives it its name: `name_00001_.ending`, with the next free number.

    The number is taken in the moment of naming, so that any number of processes can save into one folder, and so can
    ComfyUI's own nodes: nothing that exists is replaced.
    """
    _to_disk(unfinished)
    suffix = f".{ending}" if ending else ""
    with _in_turn(place.folder):
        number = max(place.counter, next_number(place.folder, place.name))
        while not _named(unfinished, target := place.folder / f"{place.name}_{number:05}_{suffix}"):
            number += 1
    _to_disk(place.folder)
    return target


def replace_file(unfinished: Path, target: Path) -> None:
    """Puts a finished file to disk and gives it a name, in place of the file that has it."""
    _to_disk(unfinished)
    os.replace(unfinished, target)
    _to_disk(target.parent)


def next_number(folder: Path, name: str) -> int:
    """One more than the highest number of the files `name_00001_...` in the folder."""
    pattern = re.compile(re.escape(unicodedata.normalize("NFC", name)) + r"_(\d+)_", re.IGNORECASE)
    names = (unicodedata.normalize("NFC", each) for each in (os.listdir(folder) if folder.is_dir() else ()))
    return max((int(match[1]) for match in map(pattern.match, names) if match), default=0) + 1


@contextlib.contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """One process of ours at a time, where the system can do that without a file that could be left behind.

    Without it, names are still exclusive; only `a_00001_.mp4` and `a_00001_.gif` could be made at the same moment.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        for _ in range(_TURNS):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_TURN_S)
            except OSError:
                break
        yield
    finally:
        os.close(handle)  # which ends the lock


def _named(unfinished: Path, target: Path) -> bool:
    """Renames without replacing anything; False when the name is taken."""
    try:
        if unfinished.is_dir():
            _rename_folder(unfinished, target)
        else:
            _rename_file(unfinished, target)
    except FileExistsError:
        return False
    return True


def _rename_file(unfinished: Path, target: Path) -> None:
    try:
        os.link(unfinished, target)
        return
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        pass  # no hard links on this file system
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        os.replace(unfinished, target)
    except BaseException:  # a border: the name was only reserved
        target.unlink(missing_ok=True)
        raise


def _rename_folder(unfinished: Path, target: Path) -> None:
    if os.name == "nt":
        os.rename(unfinished, target)  # refuses an existing name by itself
        return
    os.mkdir(target)
    try:
        os.rename(unfinished, target)
    except BaseException:  # a border: the name was only reserved
        os.rmdir(target)
        raise


def _to_disk(path: Path) -> None:
    """Waits until a file, or a folder's list of names, has left the memory of the machine."""
    if path.is_dir() and os.name == "nt":
        return
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC and not path.is_dir():
            raise


def files_to_disk(folder: Path) -> None:
    """As for one file, those in a folder."""
    for file in folder.iterdir():
        _to_disk(file)
