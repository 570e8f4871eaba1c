"""How far a file is read: its tensors pass in short runs, and after each of them it is told, and may be stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

OnBytes = Callable[[int, int], None]
"""Told how many bytes of how many are done; it may raise to stop."""
Watch = Callable[[int], None]
"""Told the bytes of each run that has been looked through or cast; it may raise to stop."""
RUN_BYTES = 1 << 26
"""Long enough that the telling costs nothing, short enough to stop at once: 0.1 s of a slow disk."""


def unwatched(_count: int) -> None:
    """Nobody wants to know."""


def untold(_done: int, _total: int) -> None:
    """Nobody wants to know."""


def runs(tensor: Tensor) -> Iterable[Tensor]:
    """A tensor in runs of at most `RUN_BYTES`, flat; one that does not lie in one piece as it is."""
    if not tensor.is_contiguous() or tensor.nbytes <= RUN_BYTES:
        return (tensor,)
    return tensor.view(-1).split(RUN_BYTES // tensor.element_size())


class Meter:
    """Counts the bytes of tensors that are read one after the other.

    Args:
        sizes: of all tensors, in their order.
        told: of what is done.
    """

    def __init__(self, sizes: Iterable[int], told: OnBytes) -> None:
        self._sizes = tuple(sizes)
        self._total = sum(self._sizes)
        self._told = told
        self._index = self._before = self._within = 0

    def watch(self, count: int) -> None:
        """See `Watch`, of the tensor at hand. One may be looked through twice, which is no more than all of it."""
        self._within += count
        self._told(self._before + min(self._within, self._sizes[self._index]), self._total)

    def next(self) -> None:
        """The tensor at hand is done."""
        self._before += self._sizes[self._index]
        self._index, self._within = self._index + 1, 0
        self._told(self._before, self._total)
