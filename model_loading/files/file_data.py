"""The data of a model file as tensors: windows into one map of the file, or copies read by offset.

The safetensors package maps a file so that Linux refuses one larger than memory. Here a tensor is a window into one map
for which no memory is reserved: no copy, and the system may drop the pages again. Where mapping is a trap (Windows
locks mapped files) tensors are read by offset.
"""

from __future__ import annotations

import io
import mmap
import os
import sys
import warnings
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ...common.errors import FileFault
from .faults import naming

_READ_BYTES = 1 << 30
_EXPECTED_BYTES = 1 << 28
# torch's float32 matrix-vector product rounds differently off 16 bytes (measured, CPU), so a result would depend on the
# length of the file's header: such tensors are copied. Products with 16-bit weights do not round differently.
_WIDE_ALIGNMENT = 16
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # missing in Python's module before 3.13


class FileData:
    """The bytes of one file, read when asked for.

    Args:
        path: the file.
        size_bytes: its size when its header was read.
        use_map: serve tensors from a map of the file; else read them by offset.
    """

    def __init__(self, path: Path, size_bytes: int, use_map: bool) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._use_map = use_map

    def read(self, start: int, dtype: torch.dtype, elements: int) -> Tensor:
        """`elements` values from byte `start` on, as a flat tensor on the CPU. Treat it as read-only.

        Raises:
            CheckpointError: the file has changed since its header was read.
        """
        if not elements:
            return torch.empty(0, dtype=dtype)
        aligned = start % (dtype.itemsize if dtype.itemsize <= 2 else _WIDE_ALIGNMENT) == 0
        with naming(self._path):
            if self._use_map and aligned:
                return self._window(start, dtype, elements)
            return self._copy(start, elements * dtype.itemsize).view(dtype)

    def expect(self, start: int, size: int) -> None:
        """Asks the system to read a part of the file into its cache, or the beginning of a very long one (Linux)."""
        if hasattr(os, "posix_fadvise"):
            with self._opened() as file:
                os.posix_fadvise(file.fileno(), start, min(size, _EXPECTED_BYTES), os.POSIX_FADV_WILLNEED)

    def release(self, start: int, size: int) -> None:
        """Takes a part of the map out of this process's memory: the system may drop it, and reads it again if asked."""
        mapped = self.__dict__.get("_map")
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, (start + size) // mmap.PAGESIZE * mmap.PAGESIZE
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED") and first < last:
            mapped.madvise(mmap.MADV_DONTNEED, first, last - first)

    def _opened(self) -> io.FileIO:
        try:
            return io.FileIO(self._path)
        except OSError as error:
            raise FileFault(f"cannot be opened any more ({error.strerror})", "put it back, and load it again") from None

    @cached_property
    def _map(self) -> mmap.mmap:
        with self._opened() as file:
            if os.fstat(file.fileno()).st_size != self._size_bytes:
                raise FileFault("changed while it was being read", "load it again")
            return _map_file(file.fileno())

    def _window(self, start: int, dtype: torch.dtype, elements: int) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            return torch.frombuffer(self._map, dtype=dtype, count=elements, offset=start)

    def _copy(self, start: int, size: int) -> Tensor:
        data = torch.empty(size, dtype=torch.uint8)
        target = data.numpy().data
        with self._opened() as file:
            file.seek(start)
            done = 0
            while done < len(target):
                got = file.readinto(target[done : done + _READ_BYTES])
                if not got:
                    raise FileFault("became shorter while it was being read", "load it again")
                done += got
        return data


def _map_file(descriptor: int) -> mmap.mmap:
    """Maps a whole file. Writing to a tensor by mistake copies that page: neither a crash nor a changed file.

    Linux reserves memory for the whole of such a map unless told not to. Where it reserves always (strict overcommit)
    and has too little, the map is read-only.
    """
    try:
        if sys.platform == "linux":
            flags, protection = mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            return mmap.mmap(descriptor, 0, flags=flags, prot=protection)
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    except OSError:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
