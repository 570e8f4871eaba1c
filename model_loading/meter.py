"""How far a file is read: its tensors pass in short runs, and after each of them it is told, and may be stopped.

The next ones are brought from disk meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from .files.checkpoint import Checkpoint

OnBytes = Callable[[int, int], None]
"""Told how many bytes of how many are done; it may raise to stop."""
Watch = Callable[[int], None]
"""Told the bytes of each run that has been looked through or cast; it may raise to stop."""
RUN_BYTES = 1 << 26
"""Long enough that the telling costs nothing, short enough to stop at once: 0.1 s of a slow disk."""

AHEAD_BYTES = 1 << 28
"""How far the disk may be ahead, 0.1 s of a fast one: in the system's cache, which takes the room back at need."""
_LEAST_BYTES = 1 << 20  # smaller tensors come with their neighbours


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

    @property
    def done_bytes(self) -> int:
        """Of the tensors before the one at hand."""
        return self._before

    def watch(self, count: int) -> None:
        """See `Watch`, of the tensor at hand. One may be looked through twice, which is no more than all of it."""
        self._within += count
        self._told(self._before + min(self._within, self._sizes[self._index]), self._total)

    def next(self) -> None:
        """The tensor at hand is done."""
        self._before += self._sizes[self._index]
        self._index, self._within = self._index + 1, 0
        self._told(self._before, self._total)


class ReadAhead:
    """Asks for the tensors of a file before they are read, from a thread that ends with the `with` block.

    A core would otherwise wait for the disk at the beginning of each run of a tensor, and the disk for the cores.

    Args:
        checkpoint: the file.
        keys: its tensors in the order in which they will be read.
    """

    def __init__(self, checkpoint: Checkpoint, keys: Iterable[str]) -> None:
        self._checkpoint = checkpoint
        self._keys = iter([key for key in keys if key in checkpoint.tensors])
        self._asked_bytes = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def reach(self, done_bytes: int) -> None:
        """Asks for what lies less than `AHEAD_BYTES` behind the first `done_bytes` of the tensors.

        An error is left to whoever reads the tensor, and says what is wrong with it.
        """
        while self._asked_bytes < done_bytes + AHEAD_BYTES and (key := next(self._keys, None)) is not None:
            size_bytes = self._checkpoint.tensors[key].size_bytes
            self._asked_bytes += size_bytes
            if size_bytes >= _LEAST_BYTES:
                self._thread.submit(self._checkpoint.expect, key)
