"""Writing a .safetensors file one tensor after the other, when which tensors there are shows only on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import torch
from torch import Tensor

from .checkpoint import TORCH_DTYPES

_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items() if dtype.is_floating_point}
_ALIGNED_BYTES = 8


class TensorStream:
    """A file that is written.

    Room for the header is left at its beginning, and filled at the end; what is left of it are spaces, which the format
    allows there. Readers take tensors as windows into the file, so each begins at a multiple of four bytes: one of 16
    bits with an odd number of values is written in float32.

    Args:
        file: open for writing, empty.
        room: bytes that the header takes at most.
        metadata: texts of the header; they count for the room.
    """

    def __init__(self, file: IO[bytes], room: int, metadata: Mapping[str, str]) -> None:
        self._file = file
        self._room = -(-room // _ALIGNED_BYTES) * _ALIGNED_BYTES
        self._header: dict[str, Any] = {"__metadata__": dict(metadata)}
        self._end = 0
        file.write(bytes(8 + self._room))

    def add(self, name: str, tensor: Tensor) -> None:
        """Writes a tensor of floating-point numbers of 16 bits or more.

        Raises:
            OSError: the disk refuses.
        """
        if tensor.nbytes % 4:
            tensor = tensor.float()
        begin, self._end = self._end, self._end + tensor.nbytes
        self._header[name] = {
            "dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, self._end],
        }  # fmt: skip
        self._file.write(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def finish(self) -> None:
        """Writes the header.

        Raises:
            OSError: the disk refuses.
        """
        text = json.dumps(self._header).encode()
        assert len(text) <= self._room, f"a header of {len(text)} bytes in {self._room}"
        self._file.seek(0)
        self._file.write(self._room.to_bytes(8, "little") + text.ljust(self._room))
