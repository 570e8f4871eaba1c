"""Host memory that a device copies from without help of the processor."""

from __future__ import annotations

import contextlib
import os
import weakref
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..common.log import logger

RAM_SHARE = 0.45
"""The part of the machine's memory that may be pinned unless told otherwise; Windows allows no more."""

_FALLBACK_RAM_BYTES = 16 << 30


class HostBuffer:
    """Bytes in host memory, pinned when `device` is a CUDA device and the system allows it.

    The memory is registered where it lies instead of being taken from torch's own pinned allocator, which rounds up to
    a power of two: a block of 703 MB would take 1 GB.

    Attributes:
        device: that copies from here.
        bytes: [size_bytes], uint8, CPU.
        pinned: whether the memory is pinned. Copies work without, but slower.
    """

    def __init__(self, size_bytes: int, device: torch.device) -> None:
        self.device = device
        self.bytes = plain_bytes(size_bytes, torch.device("cpu"))
        self.pinned = device.type == "cuda" and size_bytes > 0 and _register(self.bytes, device)
        if self.pinned:
            weakref.finalize(self, _unregister, self.bytes, device).atexit = False

    def __len__(self) -> int:
        return len(self.bytes)


def plain_bytes(size_bytes: int, device: torch.device) -> Tensor:
    """[size_bytes], uint8, not yet written; in inference mode too a tensor that any thread may write to."""
    with torch.inference_mode(False):
        return torch.empty(size_bytes, dtype=torch.uint8, device=device)


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Makes a CUDA device the current one of this thread.

    Calls that name no device would otherwise open the first GPU too, which takes several hundred megabytes of it.
    """
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def default_pinned_bytes(device: torch.device) -> int:
    """How much host memory may be pinned for `device` when the user sets no cap; 0 for the CPU, which needs none."""
    return 0 if device.type == "cpu" else int(RAM_SHARE * _ram_bytes())


def _ram_bytes() -> int:
    try:
        import psutil
    except ImportError:
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" not in names:
            return _FALLBACK_RAM_BYTES
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return psutil.virtual_memory().total


def _register(buffer: Tensor, device: torch.device) -> bool:
    with on_device(device):
        failed = int(_cudart().cudaHostRegister(buffer.data_ptr(), len(buffer), 0))
    if failed:
        _forget_error(device)
        _warn_of_unpinned_memory()
    return not failed


@lru_cache(maxsize=1)
def _warn_of_unpinned_memory() -> None:
    """Once: with one block all others fail, too."""
    logger.warning(
        "The system allows no more pinned memory: copies to the device will be slower. Close other programs, or lower "
        "the cap on pinned memory."
    )


def _cudart() -> Any:
    return torch.cuda.cudart()


def _unregister(buffer: Tensor, device: torch.device) -> None:
    torch.cuda.synchronize(device)
    with on_device(device):
        _cudart().cudaHostUnregister(buffer.data_ptr())


def _forget_error(device: torch.device) -> None:
    """CUDA reports a failed call once more at the next one; let that be this one."""
    with contextlib.suppress(RuntimeError):
        torch.zeros(1, device=device).add_(1)
        torch.cuda.synchronize(device)
