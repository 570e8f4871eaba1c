"""A packed value in a safetensors file that says of itself whose it is, and whether it is whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from ...common.errors import CheckpointError
from ...media.whole import replace_file, unfinished_file
from ...model_loading.files.checkpoint import TORCH_DTYPES
from ...model_loading.files.safetensors_file import SafetensorsFile
from .digest import tensor_bytes

ENDING = "safetensors"
_FORMAT, _KEY, _CHECKSUM = "wan_director.run", "wan_director.key", "wan_director.checksum"
_VERSION, _NO_CHECKSUM = "1", "--------"
_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


class Unusable(Exception):  # noqa: N818  (it says why, and is answered)
    """A file that is not what its name says; the text goes on after the file's name."""


def write(path: Path, tensors: Mapping[str, Tensor], key: str) -> None:
    """Puts tensors to disk under a name, in place of the file of that name; whoever reads it gets the one or the other.

    They are copied from their device one by one.

    Args:
        key: whose they are.

    Raises:
        OSError: they cannot be written.
    """
    with unfinished_file(path.parent, ENDING) as part:
        with part.open("r+b") as file:
            _write(file, tensors, key)
        replace_file(part, path)


def read(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors that `write` was given, on the CPU.

    Raises:
        OSError: there is no such file, or it cannot be read.
        Unusable: it is not whole, or is none of that key.
    """
    try:
        file = SafetensorsFile(path, use_map=False)
        if file.metadata.get(_FORMAT) != _VERSION or file.metadata.get(_KEY) != key:
            raise Unusable("is not of this run")
        tensors = {name: file.read(name) for name in file.tensors}
    except CheckpointError:
        raise Unusable("is damaged, or not whole") from None
    if file.metadata.get(_CHECKSUM) != _checksum(tensors):
        raise Unusable("is damaged: its contents have changed")
    return tensors


def _write(file: IO[bytes], tensors: Mapping[str, Tensor], key: str) -> None:
    """The header with a gap for the checksum, the tensors, and then what goes into the gap."""
    metadata = {_FORMAT: _VERSION, _KEY: key, _CHECKSUM: _NO_CHECKSUM}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file.write(len(text).to_bytes(8, "little") + text)
    total = 0
    for name, tensor in tensors.items():
        data = tensor_bytes(tensor)
        file.write(data)
        total = _added(total, name, tensor, data)
    file.seek(8 + text.index(_NO_CHECKSUM.encode()))
    file.write(f"{total:08x}".encode())


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    total = 0
    for name, tensor in tensors.items():
        total = _added(total, name, tensor, tensor_bytes(tensor))
    return f"{total:08x}"


def _added(total: int, name: str, tensor: Tensor, data: memoryview) -> int:
    """The checksum of what came before, and of a tensor after it."""
    return zlib.crc32(data, zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total))
