"""The pack's one logger: info for what a user chose or waits for, debug for the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .printable import printable

logger = logging.getLogger("wan_director")


def _show_control_characters(record: logging.LogRecord) -> bool:
    """Messages name files, titles and header fields, which may hold what a terminal would obey."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


_is_muted: ContextVar[bool] = ContextVar("is_muted", default=False)


@contextmanager
def muted() -> Iterator[None]:
    """Nothing is logged inside of the context, in this thread: what is said of a plan is said again in the run."""
    token = _is_muted.set(True)
    try:
        yield
    finally:
        _is_muted.reset(token)


logger.addFilter(lambda _record: not _is_muted.get())
logger.addFilter(_show_control_characters)
