"""Matrices in ggml's blocks, dequantised a bounded number of values at a time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from ..common.records import record
from .ggml_types import BLOCK_TYPES
from .gguf_blocks import UNPACK

# Values at a time, so that temporaries stay small. More per CPU core is no faster (measured, up to 1 << 21); a GPU must
# be filled.
_CHUNK_PER_CORE = 1 << 19
_CHUNK_ON_DEVICE = 1 << 24


@record
class GgufCodec:
    """Reads the blocks of one ggml type. The part "weight" is uint8 [rows, bytes of a row]."""

    name: str
    whole: bool = False

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec`. Peak memory beside the result: 8 MB per CPU core, about 200 MB on another device."""
        kind, unpack = BLOCK_TYPES[self.name], UNPACK[self.name]
        packed = parts["weight"]
        blocks = packed.reshape(-1, kind.size_bytes)
        result = torch.empty(len(blocks), kind.elements, dtype=dtype, device=packed.device)
        step = _chunk(packed.device) // kind.elements
        scratch = None
        if dtype != torch.float32:
            scratch = torch.empty(min(step, len(blocks)), kind.elements, dtype=torch.float32, device=packed.device)
        for start in range(0, len(blocks), step):
            chunk, goal = blocks[start : start + step], result[start : start + step]
            if scratch is None:
                unpack(chunk, goal)
            else:
                numbers = scratch[: len(chunk)]
                unpack(chunk, numbers)
                goal.copy_(numbers)
        return result.view(shape)


def _chunk(device: torch.device) -> int:
    return _CHUNK_PER_CORE * torch.get_num_threads() if device.type == "cpu" else _CHUNK_ON_DEVICE


CODECS = MappingProxyType({name: GgufCodec(name) for name in UNPACK})
