"""Recognising a lack of memory, and freeing what nobody needs."""

from __future__ import annotations

import gc

import torch

from ..errors import OutOfMemory

# torch has an error of its own for GPUs, but only words for RAM, MPS and the libraries of CUDA.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device or the machine has no memory left.

    Leave the `except` block before trying again: the error's traceback keeps the tensors of the failed attempt alive.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError, OutOfMemory)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def free_unused() -> None:
    """Gives back what is only kept for later: cycles of garbage, and the blocks that torch keeps of each device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
