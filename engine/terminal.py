"""How far the work is, on standard error: one line that changes in a terminal, few lines for the log elsewhere."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from ..common.log import logger
from ..common.printable import printable_name
from ..model_loading.meter import OnBytes
from .previews.moving import MovingPicture
from .progress import Counted, Pace
from .runtime import Progress, told_bytes

KEPT_AFTER_S = 1.0
"""Work that took longer leaves a line about what it took; other lines make room for the next."""
LOGGED_AFTER_S = 10.0
"""Work that takes longer has a line in a log as soon as that is known, and one at its end."""
_FORM = "{percentage:3.0f}% |{bar:12}| {desc}"


def shown_progress(counted: Counted) -> Progress:
    """What tells whoever watches standard error, or reads it later."""
    is_watched = sys.stderr is not None and sys.stderr.isatty()
    return TerminalProgress(counted) if is_watched else LoggedProgress(counted)


def shown_bytes(title: str) -> AbstractContextManager[OnBytes]:
    """As `shown_progress`, of bytes: what is to be told how many of how many are done."""
    return told_bytes(title, shown_progress)


class TerminalProgress:
    """One line of a terminal, drawn anew a few times a second."""

    def __init__(self, counted: Counted) -> None:
        from tqdm import tqdm

        self._pace = Pace(counted)
        words = printable_name(self._pace.words())
        self._line = tqdm(total=counted.total, desc=words, bar_format=_FORM, dynamic_ncols=True, leave=False)
        self._line.n = counted.before

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *_error: object) -> None:
        self._line.close()
        if self._pace.lasted_s >= KEPT_AFTER_S:
            self._line.write(printable_name(self._pace.ended()), file=sys.stderr)

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        self._pace.reach(done)
        self._draw()

    def note(self, text: str) -> None:
        self._pace.note(text)
        self._draw()

    def _draw(self) -> None:
        if self._pace.is_due():
            self._line.n = self._pace.done
            self._line.set_description_str(printable_name(self._pace.words()))


class LoggedProgress:
    """Two lines in the log about work that takes long, none about other work."""

    def __init__(self, counted: Counted) -> None:
        self._pace = Pace(counted)
        self._is_told = False

    def __enter__(self) -> LoggedProgress:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_told:
            logger.info("%s.", self._pace.ended())

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        self._pace.reach(done)
        self._tell_once()

    def note(self, text: str) -> None:
        self._pace.note(text)
        self._tell_once()

    def _tell_once(self) -> None:
        if not self._is_told and self._pace.lasted_s >= LOGGED_AFTER_S:
            self._is_told = True
            logger.info("%s ...", self._pace.words())


class UnseenProgress:
    """Nobody waits, or nobody looks."""

    def __enter__(self) -> UnseenProgress:
        return self

    def __exit__(self, *_error: object) -> None:
        """There was nothing to see."""

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        """It is not told."""

    def note(self, text: str) -> None:
        """It is not told."""
