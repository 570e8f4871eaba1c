"""A model whose tensors another program holds in memory, read like a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from ...common.errors import FileFault
from .checkpoint import TORCH_DTYPES, TensorInfo

_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items() if name != "F8_E8M0"}
if hasattr(torch, "float8_e8m0fnu"):
    _NAMES[torch.float8_e8m0fnu] = "F8_E8M0"


class MemoryCheckpoint:
    """See `Checkpoint`. What is read shares the memory of the tensors that were given.

    Args:
        path: of the file that they came from, or a name in its place: for messages, and for what only a name tells.
        tensors: by their names in that file.
        metadata: the texts of its header, as far as they are known.

    Raises:
        FileFault: a tensor has a number format that no file has.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.metadata: Mapping[str, str] = metadata or {}
        self._tensors = tensors
        strange = next((key for key, tensor in tensors.items() if tensor.dtype not in _NAMES), None)
        if strange is not None:
            raise FileFault(
                f"holds numbers of the kind {tensors[strange].dtype}, which no model file has",
                "Load its file with the pack's own loader",
                repr(strange),
            )
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(
            {key: TensorInfo(_NAMES[tensor.dtype], tuple(tensor.shape)) for key, tensor in tensors.items()}
        )
        self.size_bytes = sum(info.size_bytes for info in self.tensors.values())

    def read(self, key: str) -> Tensor:
        """The tensor called `key`, where it lies: a parameter's numbers without the parameter, which its owner moves.

        Exponents of mxfp8 are read as bytes, as from a file. Treat it as read-only.
        """
        tensor = self._tensors[key].detach()
        return tensor.view(torch.uint8) if self.tensors[key].dtype == "F8_E8M0" else tensor

    def expect(self, key: str) -> None:
        """Nothing: it is there."""

    def release(self, key: str) -> None:
        """Nothing: the memory is its owner's."""
