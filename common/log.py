"""The pack's one logger: info for what a user chose or waits for, debug for the rest."""

from __future__ import annotations

import logging

from .printable import printable

logger = logging.getLogger("wan_director")


def _show_control_characters(record: logging.LogRecord) -> bool:
    """Messages name files, titles and header fields, which may hold what a terminal would obey."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


logger.addFilter(_show_control_characters)
