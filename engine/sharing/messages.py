"""What a process and those that share its runs say to each other, over the pipes between them."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .packing import packed, unpacked

_LENGTH = 8


class RunRequest(NamedTuple):
    """To get ready for a run.

    Attributes:
        number: of the run.
        data: what gives it, see `packing`.
        keys: of the models that are to be kept.
    """

    number: int
    data: bytes
    keys: frozenset[Hashable]


class Go(NamedTuple):
    """To make it.

    Attributes:
        number: of the run.
        rank, ranks, meeting: see `parallel.crew.Seat`.
        threads: of torch, for all of them together.
    """

    number: int
    rank: int
    ranks: int
    meeting: Path
    threads: int


class Halt(NamedTuple):
    """Not to make it, or to end it."""

    number: int


class Ready(NamedTuple):
    """All that can be known before the run is."""

    number: int


class Ended(NamedTuple):
    """It has made its part; `why` not, in a sentence."""

    number: int
    why: str = ""


def write(message: Any, pipe: BinaryIO) -> None:
    """Says it.

    Raises:
        OSError: nobody is there any more.
    """
    data = packed(message).data
    pipe.write(len(data).to_bytes(_LENGTH, "big") + data)
    pipe.flush()


def read(pipe: BinaryIO) -> Any | None:
    """What is said next, waited for; None when nothing will be."""
    length = pipe.read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    size = int.from_bytes(length, "big")
    data = pipe.read(size)
    return unpacked(data) if len(data) == size else None  # who was killed may have said a part of it
