"""Commands that are kept running: started anew when they end, and ended with whoever keeps them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..common.log import logger

KEPT = "WAN_DIRECTOR_KEPT"
"""Tells a process that it is kept: it ends when its standard input does."""
_PACK = Path(__file__).absolute().parents[1]
_PATIENCE_S, _AGAIN_S, _LONGEST_S = 20.0, 0.5, 10.0
_WELL_S = 20.0
"""A command that has run for so long had a good start."""


class KeptCommand:
    """A command of this pack in a process of its own, from its making on.

    Args:
        words: of the command.
        environment: variables beside those of this process.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, str(_PACK), *words]
        self._environment = {**os.environ, **(environment or {}), KEPT: "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def process(self) -> int:
        """The number of the process that runs now; 0 between two."""
        process = self._process
        return 0 if process is None or process.poll() is not None else process.pid

    def end(self) -> None:
        """Ends it; it has some time to do so by itself."""
        self._ends.set()
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
            process.kill()
        self._thread.join()

    def _keep(self) -> None:
        pause_s = _AGAIN_S
        while not self._ends.is_set():
            begun_s = time.monotonic()
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.PIPE, start_new_session=True
            )
            code = self._process.wait()
            pause_s = _AGAIN_S if time.monotonic() - begun_s > _WELL_S else min(2 * pause_s, _LONGEST_S)
            if not self._ends.is_set():
                logger.warning("A process has ended with exit code %d. It is started anew.", code)
                self._ends.wait(pause_s)


def when_abandoned(do: Callable[[], None]) -> None:
    """Calls something, in a thread, when whoever keeps this process has gone; never, if nobody keeps it."""
    if os.environ.get(KEPT) != "1":
        return

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 1024):
                pass
        do()

    threading.Thread(target=watch, daemon=True).start()
