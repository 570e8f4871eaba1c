"""The inputs of blocks that are run again for the backward pass, in RAM from their forward pass until then."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .backend import Backend, Event
from .pinned import HostBuffer


class _InRam:
    """An input in RAM: its bytes there, the end of the last copy of it, and what has been brought back of it."""

    def __init__(self, buffer: HostBuffer, tensor: Tensor, backend: Backend) -> None:
        self.buffer = buffer
        self.host = buffer.bytes[: tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape)
        self.ready = backend.copy(self.host, tensor, backend.record())
        self.brought: Tensor | None = None

    def bring(self, backend: Backend) -> None:
        """Sends it to the device, unless it is on its way."""
        if self.brought is None:
            self.brought = torch.empty(self.host.shape, dtype=self.host.dtype, device=backend.device)
            self.ready = backend.copy(self.brought, self.host, backend.record())


class InputsInRam:
    """Copies what autograd saves of these blocks to RAM beside the computation, and back ahead of it.

    The block before is on its way back while one is gone back through, so that the device holds two inputs at most.
    Host memory is kept from step to step.

    Args:
        blocks: whose inputs; the others' stay on the device.
        size_bytes: of the largest input that is expected, so that one memory does for all.
    """

    def __init__(self, blocks: Collection[nn.Module], backend: Backend, size_bytes: int = 0) -> None:
        self._blocks = frozenset(blocks)
        self._backend = backend
        self._size_bytes = size_bytes
        self._free: list[HostBuffer] = []
        self._waiting: list[weakref.ref[_InRam]] = []
        self._leaving: tuple[Tensor, Event] | None = None

    def keeping(self, block: nn.Module) -> AbstractContextManager[object]:
        """Inside, what autograd saves for a block is taken to RAM, if the block is one of them."""
        self._let_go()
        return saved_tensors_hooks(self._take_away, self._give_back) if block in self._blocks else nullcontext()

    def close(self) -> None:
        """Waits for copies that are on their way."""
        self._let_go()
        for reference in self._waiting:
            kept = reference()
            if kept is not None:
                self._backend.wait(kept.ready)
        self._waiting.clear()
        self._free.clear()

    def _let_go(self) -> None:
        """Gives the memory of the input that was copied last back, once the copy is done: a whole block ago."""
        if self._leaving is not None:
            self._backend.wait(self._leaving[1])
            self._leaving = None

    def _take_away(self, tensor: Tensor) -> Tensor | _InRam:
        if not tensor.numel():
            return tensor
        buffer = self._buffer(tensor.numel() * tensor.element_size())
        kept = _InRam(buffer, tensor.detach(), self._backend)
        weakref.finalize(kept, self._free.append, buffer)
        self._waiting.append(weakref.ref(kept))
        self._leaving = tensor.detach(), kept.ready
        return kept

    def _give_back(self, kept: Tensor | _InRam) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        self._let_go()
        kept.bring(self._backend)
        self._backend.wait(kept.ready)
        tensor, kept.brought = kept.brought, None
        assert tensor is not None, "it was brought"
        self._bring_next(kept)
        return tensor

    def _bring_next(self, after: _InRam) -> None:
        while self._waiting:
            kept = self._waiting[-1]()
            if kept is not None and kept is not after:
                kept.bring(self._backend)
                return
            self._waiting.pop()

    def _buffer(self, size_bytes: int) -> HostBuffer:
        for index, buffer in enumerate(self._free):
            if len(buffer) >= size_bytes:
                return self._free.pop(index)
        self._free.clear()  # those that are too small
        return HostBuffer(max(size_bytes, self._size_bytes), self._backend.device)
