"""One block's tensors in one run of host bytes, so that one copy brings the whole block to the device."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor, nn

from .pinned import HostBuffer
from .tensors import Held, held_tensors, is_window

ALIGNMENT = 256
"""Bytes on which every tensor of a block begins. 16 would do for all kernels; but cuBLAS chooses between its kernels by
alignments of up to 256, which tensors with memory of their own have, so a swapped block runs the kernels of a resident
one."""


class Part(NamedTuple):
    """A tensor of a block and where its bytes begin in the block's run of bytes."""

    held: Held
    start: int

    @property
    def stop(self) -> int:
        """Where its bytes end."""
        return self.start + self.held.size_bytes

    def view(self, run: Tensor) -> Tensor:
        """The tensor as it lies in such a run of bytes [size_bytes], uint8."""
        tensor = self.held.tensor
        return run[self.start : self.stop].view(tensor.dtype).view(tensor.shape)


class Packed:
    """The layout of one block for one run, and its slab if it has one.

    Attributes:
        parts: all its tensors.
        size_bytes: of the run of bytes.
        slab: host bytes with the block's values in them; None for a block that is packed on its way, each time.
    """

    def __init__(self, parts: Sequence[Part], slab: Tensor | None) -> None:
        self.parts = tuple(parts)
        self.size_bytes = max((part.stop for part in parts), default=0)
        self.slab = slab

    def pack_into(self, run: Tensor) -> None:
        """Writes the block's values into a run of host bytes."""
        for part in self.parts:
            part.view(run).copy_(part.held.tensor)

    def settle(self) -> None:
        """Makes the block hold its own tensors."""
        for part in self.parts:
            part.held.restore()


TensorsOf = Callable[[nn.Module], list[Held]]
"""Gives the tensors of a block that come and go."""


def lay_out(block: nn.Module, tensors_of: TensorsOf = held_tensors) -> Packed:
    """The layout of a block without a slab."""
    return Packed(_lay_out(tensors_of(block)), None)


class Slabs:
    """The slabs of a model's blocks, kept from run to run.

    A slab becomes the home of its block's weights: the block holds views of it, and memory the weights had of their own
    is given back. Windows into a file stay as they are, since they take no memory, and so does what is trained, which
    an optimiser knows; then the slab is a copy. A later run finds the weights in their slab and copies only what is new
    (the adapters of a LoRA) or may have changed (what is trained).

    Args:
        check: called before each block is packed; what it raises ends the packing between two blocks.
    """

    _everyones: WeakSet[Slabs] = WeakSet()

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._slabs: dict[nn.Module, _Slab] = {}
        self._everyones.add(self)

    @property
    def size_bytes(self) -> int:
        """Host memory of all slabs."""
        return sum(len(slab.buffer) for slab in self._slabs.values())

    def claim(self, size_bytes: int, cap_bytes: int) -> int:
        """How much of a cap on all models' slabs is there for this one; others let go of theirs if it is too little."""
        others = [slabs for slabs in self._everyones if slabs is not self]
        if size_bytes and size_bytes > cap_bytes - sum(slabs.size_bytes for slabs in others):
            for slabs in others:
                slabs.keep(())
        return max(0, cap_bytes - sum(slabs.size_bytes for slabs in others))

    @property
    def buffers(self) -> list[Tensor]:
        """Host bytes of each slab, [size_bytes], uint8."""
        return [slab.buffer.bytes for slab in self._slabs.values()]

    @property
    def pinned_bytes(self) -> int:
        """The pinned part of it."""
        return sum(len(slab.buffer) for slab in self._slabs.values() if slab.buffer.pinned)

    def pack(self, block: nn.Module, device: torch.device, tensors_of: TensorsOf = held_tensors) -> Packed:
        """The block with its values in its slab, which is made or enlarged as needed."""
        self._check()
        slab = self._slabs.setdefault(block, _Slab(device))
        return slab.pack(tensors_of(block))

    def keep(self, blocks: Sequence[nn.Module]) -> None:
        """Lets go of the slabs of all other blocks; weights that have their home there keep the memory, unpinned."""
        self._slabs = {block: slab for block, slab in self._slabs.items() if block in blocks}


class _Place(NamedTuple):
    """Where values are in a slab. `holder` shares the memory they are known by, so that its address stays theirs."""

    start: int
    stop: int
    holder: Tensor


class _Slab:
    """One block's slab: which tensors are in it, known by their address."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.buffer = HostBuffer(0, device)
        self._places: dict[Hashable, _Place] = {}

    def pack(self, held: Sequence[Held]) -> Packed:
        places = [self._places.get(_identity(entry)) for entry in held]
        kept = [place for place in places if place is not None]
        added = _lay_out([entry for entry, place in zip(held, places) if place is None], kept)
        self._make_room(max((part.stop for part in (*added, *kept)), default=0))
        coming = iter(added)
        parts = [
            self._put(next(coming), is_new=True) if place is None else self._put(Part(entry, place.start), is_new=False)
            for entry, place in zip(held, places)
        ]
        self._places = {
            _identity(part.held): _Place(part.start, part.stop, part.held.tensor.detach()) for part in parts
        }
        packed = Packed(parts, self.buffer.bytes)
        packed.settle()
        return packed

    def _make_room(self, size_bytes: int) -> None:
        if size_bytes > len(self.buffer):
            larger = HostBuffer(size_bytes, self._device)
            larger.bytes[: len(self.buffer)].copy_(self.buffer.bytes)
            self.buffer = larger

    def _put(self, part: Part, *, is_new: bool) -> Part:
        """The part with its values in the slab, and with the tensor that is to be its home."""
        view, own = part.view(self.buffer.bytes), part.held.tensor
        if is_new or own.requires_grad:
            view.copy_(own.detach())
        if is_window(own) or own.requires_grad:
            return part
        home = nn.Parameter(view, requires_grad=False) if isinstance(own, nn.Parameter) else view
        return Part(part.held._replace(tensor=home), part.start)


def _lay_out(held: Sequence[Held], taken: Sequence[_Place] = ()) -> list[Part]:
    """Places for tensors in the gaps between those that are taken, and behind them."""
    spans = sorted((place.start, place.stop) for place in taken)
    parts = []
    for entry in held:
        start = _find_gap(spans, entry.size_bytes)
        insort(spans, (start, start + entry.size_bytes))
        parts.append(Part(entry, start))
    return parts


def _find_gap(spans: Sequence[tuple[int, int]], size_bytes: int) -> int:
    """The first aligned start of so many bytes outside of the sorted spans."""
    start = 0
    for taken_start, taken_stop in spans:
        if start + size_bytes <= taken_start:
            break
        start = max(start, -(-taken_stop // ALIGNMENT) * ALIGNMENT)
    return start


def _identity(entry: Held) -> Hashable:
    tensor = entry.tensor
    return (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
