"""Copies beside the computation: a copy stream and events where the device has them, plain copies elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from .pinned import plain_bytes


class Event(Protocol):
    """A point in the work of a device."""

    def synchronize(self) -> None:
        """Makes the calling thread wait until the point is reached."""
        ...


class Backend(Protocol):
    """What the ring asks of a device. Nothing here makes the calling thread wait for it."""

    device: torch.device

    def allocate(self, size_bytes: int) -> Tensor:
        """Bytes on the device, [size_bytes], uint8."""
        ...

    def copy(self, target: Tensor, source: Tensor, after: Event) -> Event:
        """Tells the copy stream to copy host bytes to the device once `after` is reached; the event of its end."""
        ...

    def wait(self, event: Event) -> None:
        """Tells the computation to go on only once `event` is reached."""
        ...

    def record(self) -> Event:
        """The point at which all computation told so far is done."""
        ...


class StreamBackend:
    """A device with streams (CUDA, ROCm, XPU): copies run beside the computation."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._module = getattr(torch, device.type)
        self._stream = self._module.Stream(device=device)

    def allocate(self, size_bytes: int) -> Tensor:
        return plain_bytes(size_bytes, self.device)

    def copy(self, target: Tensor, source: Tensor, after: Event) -> Event:
        with self._module.stream(self._stream):
            self._stream.wait_event(after)
            target.copy_(source, non_blocking=True)
            ready = self._module.Event()
            ready.record(self._stream)
        return ready

    def wait(self, event: Event) -> None:
        self._module.current_stream(self.device).wait_event(event)

    def record(self) -> Event:
        event = self._module.Event()
        event.record(self._module.current_stream(self.device))
        return event


class Reached:
    """An event of a device that does one thing after the other: always in the past."""

    def synchronize(self) -> None:
        """Nothing to wait for."""


class DirectBackend:
    """A device without streams (CPU, MPS): a copy is done when the call returns."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def allocate(self, size_bytes: int) -> Tensor:
        return plain_bytes(size_bytes, self.device)

    def copy(self, target: Tensor, source: Tensor, after: Event) -> Event:
        target.copy_(source)
        return Reached()

    def wait(self, event: Event) -> None:
        pass

    def record(self) -> Event:
        return Reached()


def make_backend(device: torch.device) -> Backend:
    """The way to copy to `device`."""
    module: Any = getattr(torch, device.type, None)
    return StreamBackend(device) if hasattr(module, "Stream") and device.type != "cpu" else DirectBackend(device)
