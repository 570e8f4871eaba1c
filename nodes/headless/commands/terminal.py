"""Standard output and standard error in whatever state they are: closed, broken, full, or in a narrow encoding."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from ....common.errors import OutputError
from ....common.log import logger
from ....common.printable import printable


def prepare() -> None:
    """Makes every character writable, and takes the numbers of closed streams, which the next open file would get."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")


def say(text: object = "") -> None:
    """Prints to standard output. That nobody reads it any more is no mistake: the work is done all the same.

    Raises:
        OutputError: it cannot be written, as on a full disk.
    """
    with _writing(sys.stdout):
        print(printable(text), flush=True)


def complain(text: object) -> None:
    """Prints to standard error, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(printable(text), file=sys.stderr, flush=True)


def finish() -> None:
    """Writes what is left, so that the interpreter has nothing to say at its end.

    Raises:
        OutputError: see `say`.
    """
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            sys.stderr.flush()
    if sys.stdout is not None:
        with _writing(sys.stdout):
            sys.stdout.flush()


def log_to_terminal(*, quiet: bool) -> None:
    """Sends the log to standard error."""
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


class _Handler(logging.StreamHandler):
    """Writes each message; of those marked `once` with the same words only the first of a run."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        mark = getattr(record, "once", None)
        if self.stream is None or mark in self._said:
            return
        if mark is not None:
            self._said.add(mark)
        with _beside_the_progress():
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the library's name)
        """A message that cannot be written is no reason to stop."""


def _beside_the_progress() -> contextlib.AbstractContextManager[object]:
    """Takes the line that shows progress away while another is written; its package comes with the first of them."""
    if "tqdm" not in sys.modules:
        return contextlib.nullcontext()
    from tqdm import tqdm

    return tqdm.external_write_mode(file=sys.stderr)


@contextlib.contextmanager
def _writing(stream: TextIO | None) -> Iterator[None]:
    if stream is None:
        yield
        return
    try:
        yield
    except BrokenPipeError:
        _to_nowhere(stream)
    except (OSError, ValueError) as error:
        _to_nowhere(stream)
        reason = error.strerror if isinstance(error, OSError) else "it is closed"
        raise OutputError(f"Standard output cannot be written to ({reason}). Send it elsewhere.") from None


def _to_nowhere(stream: TextIO) -> None:
    """What is still in the stream's buffer must not fail again at the end of the process."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
