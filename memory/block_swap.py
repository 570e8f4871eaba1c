"""A few device slots that the swapped blocks of a model take turns in, filled ahead of the computation."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn

from .backend import Backend, Event
from .pinned import HostBuffer
from .slabs import Packed, Slabs, TensorsOf, lay_out
from .staging import BUFFERS, Staging
from .tensors import held_tensors

SLOTS = 2
"""One block computes in a slot while the next one arrives in the other."""


class _Slot:
    """Bytes on the device for one block at a time.

    `content` is the block whose values are in it or on their way; `ready` its arrival, `free` the end of the
    computation that used the slot before.
    """

    def __init__(self, bytes_: Tensor) -> None:
        self.bytes = bytes_
        self.content: Packed | None = None
        self.ready: Event | None = None
        self.free: Event | None = None


class Ring:
    """Hands out blocks in order; the swapped ones hold views of a slot while it is their turn.

    A swapped block is copied whole, once per pass, while the blocks before it compute. When the last one has its slot,
    the first ones are fetched for the pass to come. Nothing is copied back: weights never change. Between its turns a
    block holds its own tensors.

    Args:
        swapped: the swapped blocks with their layouts, in the order of their turns.
        backend: the device.
        staging: gives the blocks that have no slab; None when all have one.
    """

    def __init__(self, swapped: Sequence[tuple[nn.Module, Packed]], backend: Backend, staging: Staging | None) -> None:
        self._backend = backend
        self._staging = staging
        self._order = [packed for _, packed in swapped]
        self._packed = dict(swapped)
        size_bytes = max(packed.size_bytes for packed in self._order)
        self._slots = [_Slot(backend.allocate(size_bytes)) for _ in range(min(SLOTS, len(self._order)))]
        self._arriving: deque[_Slot] = deque()
        self._present: Packed | None = None
        self._next = 0

    def start(self) -> None:
        """Fetches the first blocks."""
        self._start_at(0)

    def stream(self, blocks: Iterable[nn.Module]) -> Iterator[nn.Module]:
        """The blocks in order, each ready to run until the next one is asked for.

        A pass that leaves swapped blocks out (those of a branch that nothing steers) makes the ring leave them out.
        """
        blocks = list(blocks)
        order = [self._packed[block] for block in blocks if block in self._packed]
        if order and order != self._order:
            self._order = order
            self._start_at(0)
        for block in blocks:
            packed = self._packed.get(block)
            if packed is None:
                yield block
                continue
            slot = self._arrive(packed, self._order.index(packed))
            yield block
            self._leave(slot)

    def close(self) -> None:
        """Gives every block its own tensors back and drops the slots, once no copy is on its way any more."""
        self._settle()
        for slot in self._slots:
            if slot.ready is not None:
                slot.ready.synchronize()  # both sides of the copy may be given to someone else from now on
        self._slots.clear()
        self._arriving.clear()

    def _arrive(self, packed: Packed, place: int) -> _Slot:
        """Makes a block hold its slot, which is brought from its place in the order on if it is not on its way."""
        self._settle()
        if self._arriving[0].content is not packed:  # the pass before ended early
            self._start_at(place)
        slot = self._arriving[0]
        assert slot.ready is not None
        self._backend.wait(slot.ready)
        for part in packed.parts:
            part.held.replace(part.view(slot.bytes))
        self._present = packed
        return slot

    def _leave(self, slot: _Slot) -> None:
        self._settle()
        self._arriving.popleft()
        slot.free = self._backend.record()
        self._fetch(slot)

    def _settle(self) -> None:
        if self._present is not None:
            self._present.settle()
            self._present = None

    def _start_at(self, position: int) -> None:
        """Fetches the blocks from one on; whatever the slots hold is given up once the computation is done with it."""
        self._next = position
        self._arriving.clear()
        for slot in self._slots:
            slot.content, slot.free = None, self._backend.record()
            self._fetch(slot)

    def _fetch(self, slot: _Slot) -> None:
        """Sends the next block to a slot, unless it is there already: as many blocks as slots stay where they are."""
        packed = self._order[self._next % len(self._order)]
        self._next += 1
        if slot.content is not packed:
            slot.ready = self._copy(slot, packed)
            slot.content = packed
        self._arriving.append(slot)

    def _copy(self, slot: _Slot, packed: Packed) -> Event:
        assert slot.free is not None
        target = slot.bytes[: packed.size_bytes]
        if packed.slab is not None:
            return self._backend.copy(target, packed.slab[: packed.size_bytes], slot.free)
        assert self._staging is not None  # a block without a slab has one, see `_make_staging`
        source = self._staging.take(packed).bytes[: packed.size_bytes]
        copied = self._backend.copy(target, source, slot.free)
        self._staging.give_back(copied)
        return copied


@contextlib.contextmanager
def swapping(blocks: Sequence[nn.Module], backend: Backend, slabs: Slabs, pinned_bytes: int) -> Iterator[Ring]:
    """A ring for these blocks, whose weights are on the CPU. Afterwards they are as before, whatever happened.

    Args:
        blocks: the swapped blocks, in the order of their turns.
        backend: the device to compute on.
        slabs: where the blocks' slabs are kept from run to run.
        pinned_bytes: cap on the memory for slabs, those that other models keep included (see `Slabs.claim`); blocks
            beyond it go through two buffers, which do not count.
    """
    with contextlib.ExitStack() as stack:
        packed = pack_blocks(blocks, backend, slabs, pinned_bytes)
        staging = make_staging(packed, backend)
        if staging is not None:
            stack.callback(staging.close)
        ring = Ring(list(zip(blocks, packed)), backend, staging)
        stack.callback(ring.close)
        ring.start()
        yield ring


def spread(count: int, among: int) -> tuple[int, ...]:
    """`count` numbers below `among`, evenly apart, the last one included: (1, 3) of 4, (1, 3, 4) of 5."""
    return tuple(index for index in range(among) if (index + 1) * count // among > index * count // among)


def slab_blocks(sizes: Sequence[int], pinned_bytes: int) -> tuple[int, ...]:
    """Which blocks of these sizes get a slab under a cap: as many as fit, evenly apart."""
    largest = max(sizes, default=0)
    return spread(min(len(sizes), pinned_bytes // largest if largest else 0), len(sizes))


def pack_blocks(
    blocks: Sequence[nn.Module],
    backend: Backend,
    slabs: Slabs,
    pinned_bytes: int,
    tensors_of: TensorsOf = held_tensors,
) -> list[Packed]:
    """The layouts of blocks, with slabs as far as the cap on them goes; see `swapping`."""
    layouts = [lay_out(block, tensors_of) for block in blocks]
    room = slabs.claim(min(pinned_bytes, sum(layout.size_bytes for layout in layouts)), pinned_bytes)
    chosen = {blocks[index] for index in slab_blocks([layout.size_bytes for layout in layouts], room)}
    slabs.keep(list(chosen))
    return [
        slabs.pack(block, backend.device, tensors_of) if block in chosen else layout
        for block, layout in zip(blocks, layouts)
    ]


def make_staging(order: Sequence[Packed], backend: Backend) -> Staging | None:
    """What packs those of the blocks that have no slab, in the order they are copied; None where all have one."""
    staged = [packed for packed in order if packed.slab is None]
    if not staged:
        return None
    size_bytes = max(packed.size_bytes for packed in staged)
    return Staging(staged, [HostBuffer(size_bytes, backend.device) for _ in range(BUFFERS)])
