"""What every model file is once it is open, whatever its format: names, shapes, and tensors read one by one."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# Bits per element of every dtype of .safetensors. Those torch has no plain dtype for can be inspected, not read.
DTYPE_BITS = MappingProxyType({
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
})  # fmt: skip
# The exponents of mxfp8 are read as bytes: older versions of torch have no such numbers, and none counts with them.
TORCH_DTYPES = MappingProxyType({
    "F8_E8M0": torch.uint8,
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
    **{f"U{bits}": getattr(torch, f"uint{bits}") for bits in (16, 32, 64) if hasattr(torch, f"uint{bits}")},
})  # fmt: skip


class TensorInfo(NamedTuple):
    """What the header says of one tensor; `dtype` in the words of .safetensors ("BF16", "F8_E4M3", ...)."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's data."""
        return self.elements * DTYPE_BITS[self.dtype] // 8


class Checkpoint(Protocol):
    """A model on disk. Nothing but the header is in memory; tensors are read one by one."""

    @property
    def path(self) -> Path:
        """The file, the index or the folder."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of the file or files."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What the header says of each tensor."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """The texts of the header."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said about how the file is read, as parts of a sentence about it."""
        ...

    def read(self, key: str) -> Tensor:
        """The tensor called `key`, in the file's dtype, on the CPU. Treat it as read-only."""
        ...

    def expect(self, key: str) -> None:
        """Asks the system to bring the tensor called `key` from disk, where it can be asked.

        It takes as long as finding room for the bytes: see `meter.ReadAhead`, which asks from a thread of its own.
        """
        ...

    def release(self, key: str) -> None:
        """Lets go of the memory under the tensor called `key` where it is a map of the file; call it when done."""
        ...
