"""Hears what comes over a pipe while other things are done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from .messages import read


def listen(pipe: BinaryIO, heard: Callable[[Any], None]) -> None:
    """Calls `heard` with each message, in a thread of its own; with None when the other end is closed."""

    def run() -> None:
        message: Any = ""
        while message is not None:
            try:
                message = read(pipe)
            except Exception:  # a border: whatever comes, or a pipe that is closed here, nothing more is heard
                message = None
            heard(message)

    threading.Thread(target=run, name="wan-director-listening", daemon=True).start()
