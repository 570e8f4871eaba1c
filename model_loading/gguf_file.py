"""GGUF files: quantised weights in ggml's blocks, with metadata, in one file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from ..common.errors import CheckpointError
from .file_data import FileData
from .file_type import damaged, shorten
from .ggml_types import BLOCK_TYPES, PLAIN_TYPES, GgufTensorInfo
from .gguf_header import MAX_DIMENSIONS, ArrayPlace, read_array, read_header

_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_SPLIT_COUNT = "split.count"
_PATCH = (1, 2, 2)


class GgufFile:
    """One GGUF file: its tensors by name, read only when asked for.

    ggml has no tensors of five dimensions and drops leading dimensions of 1. `tensors` has the shapes the model had
    before, as far as the file tells them.

    Args:
        path: the file.
        use_map: serve tensors from a map of the file (default: everywhere but on Windows).

    Raises:
        CheckpointError: the file is not a sound, complete GGUF file; the message says what it is instead.
    """

    def __init__(self, path: Path, use_map: bool = sys.platform != "win32") -> None:
        self.path = path
        self.size_bytes = path.stat().st_size
        self.notes: tuple[str, ...] = ()
        self._data = FileData(path, self.size_bytes, use_map)
        header = read_header(path, self.size_bytes)
        if header.metadata.get(_SPLIT_COUNT, "0") not in ("0", "1"):
            raise CheckpointError(
                f"{path.name} is one of {header.metadata[_SPLIT_COUNT]} parts of a split GGUF model: join them with "
                "llama-gguf-split --merge, or download the model in one file."
            )
        self.metadata: MappingProxyType[str, str] = MappingProxyType(header.metadata)
        self.arrays: MappingProxyType[str, ArrayPlace] = MappingProxyType(header.arrays)
        self._stored = header.tensors
        self._starts = header.starts
        written = {name: self._original_shape(name) for name in header.tensors if _ORIGINAL_SHAPE + name in self.arrays}
        self.tensors: MappingProxyType[str, GgufTensorInfo] = MappingProxyType({
            name: info._replace(shape=written.get(name) or _wan_shape(name, header.tensors))
            for name, info in header.tensors.items()
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
        start = self._starts[key]
        if dtype is not None:
            return self._data.read(start, dtype, info.elements).view(self.tensors[key].shape)
        rows = prod(info.shape[:-1])
        kind = BLOCK_TYPES[info.dtype]
        row_bytes = info.shape[-1] // kind.elements * kind.size_bytes
        return self._data.read(start, torch.uint8, info.size_bytes).view(rows, row_bytes)

    def release(self, key: str) -> None:
        """See `Checkpoint.release`."""
        self._data.release(self._starts[key], self._stored[key].size_bytes)

    def array(self, name: str) -> list[int] | list[float] | list[str]:
        """The values of a metadata array, read from the file.

        Raises:
            KeyError: there is no such array, see `arrays`.
        """
        return read_array(self.path, self.arrays[name])

    def _original_shape(self, name: str) -> tuple[int, ...]:
        """The shape that ComfyUI's converter wrote down for a tensor it had to flatten."""
        place = self.arrays[_ORIGINAL_SHAPE + name]
        if not 0 < place.count <= MAX_DIMENSIONS or place.kind in "fds?":
            raise damaged(self.path, f"the original shape of the tensor {shorten(name)} is no list of sizes")
        shape = tuple(self.array(_ORIGINAL_SHAPE + name))
        if min(shape) < 0 or prod(shape) != self._stored[name].elements:
            stored = list(self._stored[name].shape)
            raise damaged(self.path, f"the tensor {shorten(name)} of {stored} cannot have had the shape {list(shape)}")
        return shape


def _wan_shape(name: str, tensors: Mapping[str, GgufTensorInfo]) -> tuple[int, ...]:
    """The shape a tensor of a Wan transformer had before ggml's tools flattened it; other tensors keep theirs.

    llama-quantize drops leading ones ([1, 6, D] becomes [6, D]); other converters join dimensions of the patch
    embedding [D, C, 1, 2, 2], which its bias [D] and the constant patch restore.
    """
    shape = tensors[name].shape
    if len(shape) == 2 and name.endswith((".modulation", ".emb_pos", "scale_shift_table")):
        return (1, *shape)
    stem, _, _ = name.rpartition("patch_embedding.weight")
    bias = tensors.get(f"{stem}patch_embedding.bias")
    if name.endswith("patch_embedding.weight") and len(shape) != 5 and bias is not None and bias.elements:
        channels, rest = divmod(tensors[name].elements, bias.elements * prod(_PATCH))
        if channels and not rest:
            return (bias.elements, channels, *_PATCH)
    return shape
