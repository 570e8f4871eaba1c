"""How far a piece of work is, counted and in words; whoever runs the engine decides where they are shown."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from typing import NamedTuple

from ..common.records import record
from ..model_loading.files.file_type import human_bytes

BYTES = "byte"
"""The unit that is told in MB and GB."""
INTERVAL_S = 0.25
"""Words change no more often: they are to be read, and a browser has to draw them."""
_MARK_S, _MARKS = 0.5, 9
"""The rate is that of the last marks, at least so long apart: it follows a change, and one hasty piece is not all."""


@record
class Counted:
    """What is done, and what is counted meanwhile.

    Attributes:
        title: the beginning of a sentence: "Sampling".
        unit: one of the things counted, in the singular: "step".
        total: how many there are.
        before: how many of them were done before this work began.
    """

    title: str
    unit: str
    total: int
    before: int = 0


class Whereabouts:
    """Where in a larger piece of work the ones belong that begin now: "clip 3 of 12"."""

    def __init__(self) -> None:
        self._words = ""

    @contextmanager
    def at(self, words: str) -> Iterator[None]:
        """Inside, it is there."""
        before, self._words = self._words, words
        try:
            yield
        finally:
            self._words = before

    def told(self, counted: Counted) -> Counted:
        """The work with these words in its title: "Sampling, clip 3 of 12"."""
        return replace(counted, title=f"{counted.title}, {self._words}") if self._words else counted


class _Mark(NamedTuple):
    at_s: float
    done: int


class Often:
    """Lets something pass at once, and then again whenever `interval_s` has gone by."""

    def __init__(self, interval_s: float = INTERVAL_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s, self._clock = interval_s, clock
        self._next_s = float("-inf")

    def passes(self) -> bool:
        """Whether it may pass now."""
        now = self._clock()
        if now < self._next_s:
            return False
        self._next_s = now + self._interval_s
        return True


class Pace:
    """Measures a piece of work that begins now, and puts it into words."""

    def __init__(self, counted: Counted, clock: Callable[[], float] = time.monotonic) -> None:
        self._counted, self._clock = counted, clock
        self._begun_s = clock()
        self._marks = deque([_Mark(self._begun_s, counted.before)], maxlen=_MARKS)
        self._often = Often(INTERVAL_S, clock)
        self._note = ""
        self.done = counted.before

    @property
    def lasted_s(self) -> float:
        """Since it began."""
        return self._clock() - self._begun_s

    def reach(self, done: int) -> None:
        """So many are done."""
        self.done = done
        now = self._clock()
        if now - self._marks[-1].at_s >= _MARK_S and done > self._marks[-1].done:
            self._marks.append(_Mark(now, done))

    def note(self, text: str) -> None:
        """What is being done at the moment."""
        self._note = text

    def is_due(self, after_s: float = 0.0) -> bool:
        """Whether new words may be shown now: when the work has lasted so long, and then now and again."""
        return self.lasted_s >= after_s and self._often.passes()

    def words(self) -> str:
        """For the work under way: "Sampling: step 3 of 20, 12.4 s/step, 3 min 31 s left"."""
        rate = self._rate() if self.done < self._counted.total else None
        parts = [self._place(), self._note]
        if rate is not None:
            last = self._marks[-1]
            left_s = (self._counted.total - last.done) / rate - (self._clock() - last.at_s)
            parts += [rate_in_words(rate, self._counted.unit), f"{duration_in_words(max(0.0, left_s))} left"]
        return f"{self._counted.title}: {', '.join(filter(None, parts))}"

    def ended(self) -> str:
        """For the work that is over: "Sampling: 20 steps in 4 min 12 s, 12.6 s/step"; or where it was given up."""
        title, unit, total, before = astuple(self._counted)
        count = total - before
        amount = human_bytes(count) if unit == BYTES else f"{count} {unit}{'s' if count != 1 else ''}"
        if self.done < total:
            return f"{title}: stopped at {self._place()}"
        took_s = self.lasted_s
        parts = [f"went on after {unit} {before} of {total}"] if before else []
        parts.append(f"{amount} in {duration_in_words(took_s)}")
        if took_s > 0 and count > 1:
            parts.append(rate_in_words(count / took_s, unit))
        return f"{title}: {', '.join(parts)}"

    def _place(self) -> str:
        unit, total = self._counted.unit, self._counted.total
        if unit == BYTES:
            return f"{human_bytes(self.done)} of {human_bytes(total)}"
        return f"{unit} {min(self.done + 1, total)} of {total}"

    def _rate(self) -> float | None:
        """How many per second, of late; None before that is known."""
        first, last = self._marks[0], self._marks[-1]
        return (last.done - first.done) / (last.at_s - first.at_s) if len(self._marks) > 1 else None


def rate_in_words(per_second: float, unit: str) -> str:
    """2.1 GB/s, 14 frames/s, or, where it is slower than one per second, 12.4 s/step."""
    if unit == BYTES:
        return f"{human_bytes(round(per_second))}/s"
    if per_second >= 1:
        return f"{per_second:.{0 if per_second >= 10 else 1}f} {unit}s/s"
    return f"{1 / per_second:.{0 if per_second <= 0.01 else 1}f} s/{unit}"


def duration_in_words(seconds: float) -> str:
    """0.4 s, 12 s, 3 min 31 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
