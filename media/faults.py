"""Why something could not be written, in the user's words."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..common.errors import OutputError, WanDirectorError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR}


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turns the system's complaints into a sentence about the folder.

    Raises:
        OutputError: whatever the system refused inside.
    """
    try:
        yield
    except WanDirectorError:
        raise
    except OSError as error:
        refusal = not_written(folder, error)
    else:
        return
    raise refusal


def not_written(folder: Path, error: OSError) -> OutputError:
    """The refusal of a write to a folder, with what to do about this cause."""
    reason = str(error.strerror or error).splitlines()[0]
    if error.errno in _NO_ROOM:
        remedy = "Free some room there, or choose another output folder."
    elif error.errno in _NOT_ALLOWED:
        remedy = "Allow writing there, or choose another output folder."
    elif error.errno in _IN_THE_WAY:
        reason = f"{_obstacle(folder)} is no folder"
        remedy = "Move that file away, or choose another name."
    elif error.errno == errno.ENAMETOOLONG:
        remedy = "Use a shorter name."
    else:
        remedy = "Check that disk, or choose another output folder."
    return OutputError(f"The result could not be written to {folder}: {reason} ({_free(folder)}). {remedy}")


def _obstacle(folder: Path) -> Path:
    return next((path for path in (folder, *folder.parents) if path.is_symlink() or path.is_file()), folder)


def _free(folder: Path) -> str:
    for parent in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(parent).free / 1e6:,.0f} MB free"
    return "free room unknown"
