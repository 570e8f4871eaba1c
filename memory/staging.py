"""Blocks without a slab: a thread packs them into a few host buffers, just before they are copied to the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from .backend import Event, Reached
from .pinned import HostBuffer, on_device
from .slabs import Packed

BUFFERS = 2
"""One is being filled while the other is copied from."""


class _Job(NamedTuple):
    packed: Packed
    buffer: HostBuffer
    filled: Future


class Staging:
    """Fills buffers with the blocks of `order`, over and over, ahead of `take`.

    The thread reads from the weights' own memory; where they are windows into a file, it is what waits for the disk.
    """

    def __init__(self, order: Sequence[Packed], buffers: Sequence[HostBuffer]) -> None:
        self._order = list(order)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wan_director staging")
        self._jobs: deque[_Job] = deque()
        self._next = 0
        for buffer in buffers:
            self._fill(buffer, Reached())

    def take(self, packed: Packed) -> HostBuffer:
        """The buffer with this block in it, which stays as it is until `give_back`."""
        if self._jobs[0].packed is not packed:
            self._start_again(self._order.index(packed))
        self._jobs[0].filled.result()
        return self._jobs[0].buffer

    def give_back(self, copied: Event) -> None:
        """The buffer last taken may be filled again once `copied` is reached."""
        self._fill(self._jobs.popleft().buffer, copied)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _fill(self, buffer: HostBuffer, free: Event) -> None:
        packed = self._order[self._next % len(self._order)]
        self._next += 1
        self._jobs.append(_Job(packed, buffer, self._thread.submit(_pack, packed, buffer, free)))

    def _start_again(self, position: int) -> None:
        """Fills from another block on, after a pass that ended early; the thread does one job after the other."""
        self._next = position
        jobs, self._jobs = self._jobs, deque()
        for job in jobs:
            self._fill(job.buffer, Reached())


def _pack(packed: Packed, buffer: HostBuffer, free: Event) -> None:
    with on_device(buffer.device):
        free.synchronize()
    packed.pack_into(buffer.bytes)
