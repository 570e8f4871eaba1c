"""Processes that do one thing together, as a network sees them that hands parts of tensors from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Ranks(Protocol):
    """Processes that do one thing together, all of them the same calls in the same order."""

    @property
    def rank(self) -> int:
        """The own number, 0..size - 1."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def swap(self, parts: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """Sends a part to each rank, and gives what each has sent, which has the shape of its place in `shapes`.

        All ranks call it at the same time with one dtype; a part without numbers costs nothing. What it takes of memory
        is there before anything is sent.

        Raises:
            GivenUp: a rank does not come.
        """
        ...

    def gather(self, part: Tensor, sizes: Sequence[int]) -> Tensor:
        """Sends a part to all ranks, and gives the numbers that each has sent, `sizes` of them, one behind the other.

        As of `swap`.
        """
        ...


class OneRank:
    """One rank, with nobody to hand anything to."""

    rank, size = 0, 1

    def swap(self, parts: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """See `Ranks.swap`."""
        return list(parts)

    def gather(self, part: Tensor, sizes: Sequence[int]) -> Tensor:
        """See `Ranks.gather`."""
        return part.reshape(-1)

    def largest(self, own: int) -> int:
        """The own number."""
        return own

    def team(self, ranks: Sequence[int]) -> OneRank:
        """Itself."""
        return self


ALONE = OneRank()
