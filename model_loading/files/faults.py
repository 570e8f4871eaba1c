"""Saying what is wrong with a file: its readers find the fault, and whoever knows the file's path adds its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...common.errors import FileFault
from .file_type import human_bytes


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Says faults found inside of the file at `path`, once: one that has been said of a file stays as it is.

    Raises:
        CheckpointError: a fault was found.
    """
    try:
        yield
    except FileFault as fault:
        raise fault.about(path.name).with_traceback(fault.__traceback__) from None


def damaged(what: str) -> FileFault:
    """The fault that no sound file has."""
    return FileFault(f"is damaged: {what}", "Download it again")


def incomplete(size: int, expected: int) -> FileFault:
    """The fault of a file that is shorter than its header says."""
    have, want = human_bytes(size).split(), human_bytes(expected).split()
    if have == want:  # rounding would show two equal numbers
        part = f"{size:,} of {expected:,} bytes"
    else:
        part = f"{have[0] if have[1] == want[1] else ' '.join(have)} of {' '.join(want)}"
    return FileFault(f"is incomplete ({part})")
