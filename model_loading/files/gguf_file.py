"""GGUF models: quantised weights in ggml's blocks, with metadata, in one file or in several parts."""

from __future__ import annotations

import sys
from math import prod
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from ...weights.ggml_types import BLOCK_TYPES, PLAIN_TYPES
from .faults import damaged, naming
from .file_type import shorten
from .gguf_header import MAX_DIMENSIONS, ArrayPlace, GgufTensorInfo, read_numbers, read_texts
from .gguf_parts import read_parts
from .gguf_shapes import wan_shape

_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."


class GgufFile:
    """One GGUF file, or all parts of the model it is a part of: tensors by name, read only when asked for.

    ggml has no tensors of five dimensions and drops leading dimensions of 1. `tensors` has the shapes the model had
    before, as far as the file tells them.

    Args:
        path: the file.
        use_map: serve tensors from a map of the file (default: everywhere but on Windows).

    Raises:
        MissingFileError: a part of the model is missing.
        CheckpointError: the file is not a sound, complete GGUF file; the message says what it is instead.
    """

    def __init__(self, path: Path, use_map: bool = sys.platform != "win32") -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        with naming(path):
            parts = read_parts(path, use_map)
        self.size_bytes = sum(part.size_bytes for part in parts)
        self.metadata: MappingProxyType[str, str] = MappingProxyType(parts[0].header.metadata)
        self.arrays: MappingProxyType[str, ArrayPlace] = MappingProxyType(parts[0].header.arrays)
        self._first = parts[0].path
        self._part_of = {name: part for part in parts for name in part.header.tensors}
        self._stored = {name: part.header.tensors[name] for name, part in self._part_of.items()}
        with naming(path):
            written = {
                name: self._original_shape(name) for name in self._stored if _ORIGINAL_SHAPE + name in self.arrays
            }
        self.tensors: MappingProxyType[str, GgufTensorInfo] = MappingProxyType({
            name: info._replace(shape=written.get(name) or wan_shape(name, self._stored))
            for name, info in self._stored.items()
        })  # fmt: skip

    def read(self, key: str) -> Tensor:
        """The tensor called `key`, on the CPU: plain numbers as they are, quantised ones as their bytes.

        Treat it as read-only.

        Returns:
            The shape of `tensors[key]` for plain numbers. Quantised: uint8 [rows, bytes of a row], rows as stored
            (those of the shape, unless the file was flattened).
        """
        info = self._stored[key]
        dtype = PLAIN_TYPES.get(info.dtype)
        part = self._part_of[key]
        start = part.header.starts[key]
        if dtype is not None:
            return part.data.read(start, dtype, info.elements).view(self.tensors[key].shape)
        rows = prod(info.shape[:-1])
        kind = BLOCK_TYPES[info.dtype]
        row_bytes = info.shape[-1] // kind.elements * kind.size_bytes
        return part.data.read(start, torch.uint8, info.size_bytes).view(rows, row_bytes)

    def expect(self, key: str) -> None:
        """See `Checkpoint.expect`."""
        part = self._part_of[key]
        part.data.expect(part.header.starts[key], self._stored[key].size_bytes)

    def release(self, key: str) -> None:
        """See `Checkpoint.release`."""
        part = self._part_of[key]
        part.data.release(part.header.starts[key], self._stored[key].size_bytes)

    def texts(self, name: str) -> list[str]:
        """The values of a metadata array of texts, read from the file.

        Raises:
            KeyError: there is no such array, see `arrays`.
        """
        with naming(self._first):
            return read_texts(self._first, self.arrays[name])

    def numbers(self, name: str) -> list[float]:
        """As `texts`, of an array of numbers: int or float by its kind."""
        with naming(self._first):
            return read_numbers(self._first, self.arrays[name])

    def _original_shape(self, name: str) -> tuple[int, ...]:
        """The shape that ComfyUI's converter wrote down for a tensor it had to flatten."""
        place = self.arrays[_ORIGINAL_SHAPE + name]
        if not 0 < place.count <= MAX_DIMENSIONS or place.kind in "fds?":
            raise damaged(f"the original shape of the tensor {shorten(name)} is no list of sizes")
        shape = tuple(int(size) for size in self.numbers(_ORIGINAL_SHAPE + name))
        if min(shape) < 0 or prod(shape) != self._stored[name].elements:
            stored = list(self._stored[name].shape)
            raise damaged(f"the tensor {shorten(name)} of {stored} cannot have had the shape {list(shape)}")
        return shape
