"""Who makes the jobs of a queue, and how many GPUs they have: what is forgotten with the server, and told anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..common.errors import InvalidInputError

_GONE_S = 600.0
_TOLD_S = 20.0
"""What whoever gives places has said holds for so long: it says it every second."""


@dataclass
class Capacity:
    """See the module; any thread may ask.

    Attributes:
        clock: in seconds, of whatever beginning.
    """

    clock: Callable[[], float] = time.monotonic
    _workers: dict[str, tuple[float, int]] = field(default_factory=dict)
    _largest: int = 0
    _leaving: frozenset[str] = frozenset()
    _told_s: float = float("-inf")

    def heard(self, worker: str, gpus: int = 0) -> None:
        """A worker has asked for something; `gpus`: that it has, if it said so."""
        _, before = self._workers.get(worker, (0.0, 1))
        self._workers[worker] = self.clock(), gpus or before

    def told(self, largest: int, leaving: Iterable[str]) -> None:
        """What whoever gives workers their places says: how many GPUs the largest machine has, and who is to leave."""
        self._largest, self._leaving, self._told_s = largest, frozenset(leaving), self.clock()

    def is_leaving(self, worker: str) -> bool:
        """Whether a worker gets no more jobs, because its place is wanted for others."""
        return worker in self._leaving and self._is_told()

    def workers(self) -> list[str]:
        """Their names."""
        return sorted(self._workers)

    def largest(self) -> int:
        """How many GPUs a job can have; 0 where nobody is known who makes jobs."""
        others = [gpus for _, gpus in list(self._workers.values())]
        return max([self._largest if self._is_told() else 0, *others])

    def is_beyond(self, gpus: int) -> bool:
        """Whether no machine that is known has so many GPUs."""
        return 0 < self.largest() < gpus

    def check(self, gpus: int) -> None:
        """Refuses a job that nobody can ever make.

        Raises:
            InvalidInputError: no machine has so many GPUs.
        """
        largest = self.largest()
        if self.is_beyond(gpus):
            raise InvalidInputError(
                f"The job wants {gpus} GPUs of one machine, and the largest machine of the queue has {largest}. Ask "
                f"for {largest}, or start a worker that has more."
            )

    def tidy(self) -> None:
        """Forgets workers that have gone."""
        before_s = self.clock() - _GONE_S
        for name in [name for name, (seen_s, _) in list(self._workers.items()) if seen_s < before_s]:
            self._workers.pop(name, None)

    def _is_told(self) -> bool:
        return self.clock() - self._told_s < _TOLD_S
