"""A run that is saved while it goes on, so that the next one of the same kind can go on from there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ...common.log import logger
from .digest import NoDigest
from .folder import Kin, NotSaved, StateFolder, size_of

EVERY_S = 20.0
"""A state is saved no more often."""
COST = 0.02
"""The part of a run's time that saving may take: a disk that is slow is written to less often."""
LARGE_BYTES, BYTES_PER_S = 100_000_000, 250e6
"""From which size on the first state of a run waits, and the speed that the disk is thought to have until then."""


class KeptRun(Protocol):
    """A run, from entering the context on to its end; what it had reached is kept where it is broken off."""

    def __enter__(self) -> KeptRun: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None: ...

    def earlier(self, device: torch.device) -> Any | None:
        """What an earlier run of the same kind had reached; None where there was none, or it came to its end."""
        ...

    def kin(self) -> Iterable[Kin]:
        """What runs that differ from this one in their seed alone had reached, the newest first."""
        ...

    def reach(self, value: Any, *, is_last: bool = False) -> None:
        """The run has come so far. `is_last`: nothing comes after it."""
        ...


class KeptRuns(Protocol):
    """Where runs are kept."""

    @property
    def holds_some(self) -> bool:
        """Whether a run of this process lies there, which the next one can go on with."""
        ...

    def of(self, key: Callable[[], str], kinds: Iterable[type]) -> KeptRun:
        """The run of a key, which begins now.

        Args:
            key: gives it, see `digest`; asked only where runs are kept.
            kinds: what its states are made of, see `packing.pack`.
        """
        ...

    @property
    def ended(self) -> int:
        """How many runs have ended that are still there."""
        ...

    def forget_ended(self, before: int = 0) -> None:
        """What came of the runs that have ended is in safety; `before`: but for the first so many of them."""
        ...


class NoKeptRun:
    """A run of which nothing is kept."""

    def __enter__(self) -> NoKeptRun:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """There is nothing to keep."""

    def earlier(self, device: torch.device) -> Any | None:
        """Nothing."""
        return None

    def kin(self) -> tuple[Kin, ...]:
        """None."""
        return ()

    def reach(self, value: Any, *, is_last: bool = False) -> None:
        """It is not kept."""


class NoRunsKept:
    """Every run starts anew."""

    ended = 0

    @property
    def holds_some(self) -> bool:
        """None is kept."""
        return False

    def of(self, key: Callable[[], str], kinds: Iterable[type]) -> NoKeptRun:
        """The same for every run."""
        return NoKeptRun()

    def forget_ended(self, before: int = 0) -> None:
        """There is nothing to forget."""


NO_RUNS_KEPT = NoRunsKept()
"""What holds where nobody says where to keep them."""


@dataclass
class RunsInFolder:
    """Runs are kept in a folder.

    Attributes:
        folder: it.
        every_s: a state is saved no more often; it also is when its run is broken off by an error or an interrupt.
        keeps_ended: whether a run that has ended stays until `forget_ended`: then what follows it may be broken off,
            too, and the next run of it all has its result at once. Otherwise it goes with its end.
        cost: the part of a run's time that saving may take at most; infinite where each step is to be saved.
        clock: in seconds.
    """

    folder: StateFolder
    every_s: float = EVERY_S
    keeps_ended: bool = False
    cost: float = COST
    clock: Callable[[], float] = time.monotonic
    _ended: list[str] = field(default_factory=list)
    _held: set[str] = field(default_factory=set)

    @property
    def holds_some(self) -> bool:
        return bool(self._held)

    def of(self, key: Callable[[], str], kinds: Iterable[type]) -> KeptRun:
        try:
            return RunInFolder(self, key(), tuple(kinds))
        except NoDigest as unknown:
            logger.info("Where this run is broken off, it cannot be gone on with: it depends on %s.", unknown)
            return NoKeptRun()

    @property
    def ended(self) -> int:
        return len(self._ended)

    def forget_ended(self, before: int = 0) -> None:
        while len(self._ended) > before:
            key = self._ended.pop()
            self.folder.forget(key)
            self._held.discard(key)

    def hold(self, key: str) -> None:
        """A state of a run is on the disk."""
        self._held.add(key)

    def end(self, key: str) -> None:
        """A run has come to its end."""
        self._ended.append(key)
        if not self.keeps_ended:
            self.forget_ended()


class RunInFolder:
    """See `KeptRun`."""

    def __init__(self, runs: RunsInFolder, key: str, kinds: tuple[type, ...]) -> None:
        self._runs, self._key, self._kinds = runs, key, kinds
        self._begun_s = runs.clock()
        self._due_s = self._begun_s + runs.every_s
        self._knows_disk = False
        self._unsaved: Any | None = None
        self._may_save = True

    def __enter__(self) -> RunInFolder:
        self._runs.folder.tidy(self._key)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._runs.end(self._key)
            return
        # A device that has failed gives no tensors any more; what broke the run off is what the user is to read.
        with contextlib.suppress(RuntimeError, MemoryError):
            self._save()

    def earlier(self, device: torch.device) -> Any | None:
        found = self._runs.folder.load(self._key, self._kinds, device)
        if found is not None:
            self._runs.hold(self._key)
        return found

    def kin(self) -> Iterator[Kin]:
        return self._runs.folder.kin(self._key, self._kinds)

    def reach(self, value: Any, *, is_last: bool = False) -> None:
        self._unsaved = value
        if self._is_due() and (self._runs.keeps_ended or not is_last):
            self._save()

    def _is_due(self) -> bool:
        now_s = self._runs.clock()
        if now_s >= self._due_s and not self._knows_disk:
            size = size_of(self._unsaved, self._kinds)
            wait_s = size / BYTES_PER_S / self._runs.cost if size > LARGE_BYTES else 0.0
            self._due_s = max(self._due_s, self._begun_s + wait_s)
        return now_s >= self._due_s

    def _save(self) -> None:
        if self._unsaved is None or not self._may_save:
            return
        begun_s = self._runs.clock()
        try:
            self._runs.folder.save(self._key, self._unsaved, self._kinds)
        except NotSaved as refusal:
            self._may_save = False
            logger.warning(
                "The state of this run could not be saved in %s (%s). Its result is the same, but where it is broken "
                "off it starts anew.", self._runs.folder.path, refusal,
            )  # fmt: skip
            return
        self._runs.hold(self._key)
        self._unsaved, self._knows_disk = None, True
        ended_s = self._runs.clock()
        self._due_s = ended_s + max(self._runs.every_s, (ended_s - begun_s) / self._runs.cost)
