"""A lock between processes that the system lets go of when a process dies, and that leaves no file behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_IS_WINDOWS = sys.platform == "win32"
_POLL_S = 0.2


@contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds the lock called `path`; `on_wait` is called once if another process has it.

    Raises:
        OSError: the lock's file cannot be made.
    """
    descriptor = _acquire(path, on_wait)
    try:
        yield
    finally:
        if not _IS_WINDOWS:
            with suppress(OSError):
                path.unlink()  # still locked, so that nobody else takes the name in between
        os.close(descriptor)
        if _IS_WINDOWS:
            with suppress(OSError):  # Windows keeps a file that another process has open
                path.unlink()


def _acquire(path: Path, on_wait: Callable[[], None]) -> int:
    told = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if _try_lock(descriptor) and _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)
        if not told:
            on_wait()
            told = True
        time.sleep(_POLL_S)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the locked file still has its name: its last owner may have deleted it in between."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
