"""Swapped blocks for training: in order for the forward pass, and in reverse order for the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import nn

from .backend import Backend
from .block_swap import Ring, make_staging, pack_blocks
from .slabs import Packed, Slabs
from .staging import Staging
from .tensors import frozen_tensors


class RoundTrips(Ring):
    """A ring that goes there and back: block 0, 1, ... n - 1, n - 2, ... 1, and again 0.

    The turn of a swapped block lasts until the next one's begins, so that the last block stays where it is while the
    forward pass turns into the backward pass, and the first one from a backward pass to the next forward pass. What is
    trained of a block does not come and go.
    """

    def __init__(self, swapped: Sequence[tuple[nn.Module, Packed]], backend: Backend, staging: Staging | None) -> None:
        super().__init__(swapped, backend, staging)
        self._order = _there_and_back(self._order)
        self._turn: Packed | None = None

    def stream(self, blocks: Iterable[nn.Module]) -> Iterator[nn.Module]:
        """The blocks in order, each ready to run until the next one is asked for; the last one stays ready."""
        for block in blocks:
            packed = self._packed.get(block)
            if packed is not None:
                self._begin_turn(packed, self._order.index(packed))
            yield block

    def come_back(self, block: nn.Module) -> None:
        """Makes a block ready that is gone back through; the one before it is done with."""
        packed = self._packed.get(block)
        if packed is not None:
            self._begin_turn(packed, len(self._order) - 1 - self._order[::-1].index(packed))

    def close(self) -> None:
        self._turn = None
        super().close()

    def _begin_turn(self, packed: Packed, place: int) -> None:
        if packed is self._turn:
            return
        if self._turn is not None:
            self._turn = None
            self._leave(self._arriving[0])
        self._arrive(packed, place)
        self._turn = packed


@contextmanager
def swapping_both_ways(
    blocks: Sequence[nn.Module], backend: Backend, slabs: Slabs, pinned_bytes: int
) -> Iterator[RoundTrips]:
    """As `block_swap.swapping`, a ring that brings the blocks for the backward pass, too."""
    with ExitStack() as stack:
        packed = pack_blocks(blocks, backend, slabs, pinned_bytes, frozen_tensors)
        staging = make_staging(_copied(packed), backend)
        if staging is not None:
            stack.callback(staging.close)
        ring = RoundTrips(list(zip(blocks, packed)), backend, staging)
        stack.callback(ring.close)
        ring.start()
        yield ring


def _there_and_back(order: Sequence[Packed]) -> list[Packed]:
    return [*order, *reversed(order[1:-1])]


def _copied(order: Sequence[Packed]) -> Sequence[Packed]:
    """The blocks as they are copied, round after round: those next to a turning point are still in their slot."""
    return [*order[2:], *reversed(order[:-2])] if len(order) > 3 else order
