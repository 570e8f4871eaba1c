"""Being asked to stop: Ctrl-C, and the signals by which a system, a terminal or a container ends a process."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ....common.log import logger

if TYPE_CHECKING:
    from ....engine.local import LocalRuntime

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Which of them there are depends on the system."""


class Stop:
    """Whether, and by which signal, this process was asked to stop.

    Attributes:
        number: the signal's; None as long as nobody asked.
        goes_on: whether the same command goes on where this one was stopped.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.goes_on = False

    @property
    def said(self) -> str:
        """What is said of it at the end."""
        return "stopped. The same command goes on from here." if self.goes_on else "stopped."

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that a signal has ended."""
        return 128 + (self.number or signal.SIGINT)

    def at_once(self) -> contextlib.AbstractContextManager[None]:
        """Inside, a signal raises KeyboardInterrupt, wherever the work is."""
        return self._handled(self._raise)

    @contextlib.contextmanager
    def at_the_end(self) -> Iterator[None]:
        """Inside, a first signal waits for the end, a second one acts at once.

        What is imported there (torch) ends the process when an exception comes out of the middle of its own start.
        """

        def wait(number: int, _frame: object) -> None:
            if self.number is not None:
                self._raise(number, _frame)
            self.number = number

        with self._handled(wait):
            yield
        if self.number is not None:
            raise KeyboardInterrupt

    def between_blocks(self, runtime: LocalRuntime) -> contextlib.AbstractContextManager[None]:
        """Inside, a first signal stops the run between two blocks, a second one at once."""

        def stop(number: int, _frame: object) -> None:
            if self.number is not None:
                self._raise(number, _frame)
            self.number, runtime.interrupted = number, True
            logger.info("Stopping ...")

        return self._handled(stop)

    def _raise(self, number: int, _frame: object) -> None:
        self.number = number
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def _handled(self, handler: Callable[[int, object], None]) -> Iterator[None]:
        before = {}
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
            # A process that was told to outlive its terminal (nohup) ignores the signal that its end sends.
            kept = {number for number in numbers[1:] if signal.getsignal(number) == signal.SIG_IGN}
            before = {number: signal.signal(number, handler) for number in numbers if number not in kept}
        try:
            yield
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)
