"""What a command is given beside its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .stopping import Stop


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the command line.

    Attributes:
        stop: whether it was asked to stop.
        nodes: gives the pack's nodes by id, and loads them first.
    """

    stop: Stop
    nodes: Callable[[], Mapping[str, type]]
