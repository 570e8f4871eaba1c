"""GGUF weights: matrices in ggml's blocks, kept as they are and dequantised for every use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...common.errors import CheckpointError
from ..ggml_types import BLOCK_TYPES
from ..safetensors_file import TensorInfo
from .gguf_blocks import SCALES, UNPACK
from .stored import StoredWeight

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint

# Values at a time, so that temporaries stay small. More per CPU core is no faster (measured, up to 1 << 21); a GPU must
# be filled.
_CHUNK_PER_CORE = 1 << 19
_CHUNK_ON_DEVICE = 1 << 24


@dataclass(frozen=True, slots=True)
class GgufCodec:
    """Reads the blocks of one ggml type. The part "weight" is uint8 [rows, bytes of a row]."""

    name: str

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec`. Peak memory beside the result: 8 MB per CPU core, about 200 MB on another device."""
        kind, unpack = BLOCK_TYPES[self.name], UNPACK[self.name]
        packed = parts["weight"]
        blocks = packed.reshape(-1, kind.size_bytes)
        result = torch.empty(len(blocks), kind.elements, dtype=dtype, device=packed.device)
        step = _chunk(packed.device) // kind.elements
        scratch = None
        if dtype != torch.float32:
            scratch = torch.empty(min(step, len(blocks)), kind.elements, device=packed.device)
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


@dataclass(frozen=True, slots=True)
class GgufFormat:
    """Files in which some or all matrices are in ggml's blocks; each tensor has a type of its own."""

    name: str = "GGUF"
    companions: tuple[str, ...] = ()

    def matches(self, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bool:
        """Some tensor has a ggml block type. (A GGUF file of 16- and 32-bit tensors alone is plain.)"""
        return any(info.dtype in BLOCK_TYPES for info in tensors.values())

    def read(self, checkpoint: Checkpoint, key: str) -> Tensor | StoredWeight:
        """See `WeightFormat`.

        Raises:
            CheckpointError: the tensor is of a ggml type this version cannot read, or its scales are no numbers.
        """
        info, name = checkpoint.tensors[key], checkpoint.path.name
        if info.dtype not in BLOCK_TYPES:
            return checkpoint.read(key)
        if info.dtype not in UNPACK:
            raise CheckpointError(
                f"{name}: tensor {key!r} is stored as {info.dtype}, which this version cannot read. Use a Q8_0, Q6_K, "
                "Q5_K_M, Q4_K_M or Q3_K_M file of the same model."
            )
        packed = checkpoint.read(key)
        if not _has_finite_scales(packed, info.dtype):
            raise CheckpointError(
                f"{name}: tensor {key!r} has scales that are no numbers (NaN or infinite), so every video would be "
                "black. The file is damaged: download it again."
            )
        weight = StoredWeight(CODECS[info.dtype], {"weight": packed}, info.shape)
        # Where the file was flattened, a row of the matrix may start within a block: rows could not be looked up.
        return weight if packed.shape[0] == info.shape[0] else weight.dense()


def _has_finite_scales(packed: Tensor, kind: str) -> bool:
    start, count = SCALES[kind]
    blocks = packed.reshape(-1, BLOCK_TYPES[kind].size_bytes)
    scales = blocks[:, start : start + count].clone(memory_format=torch.contiguous_format).view(torch.int16)
    # float16 has all five bits of the exponent set for NaN and infinity.
    return not scales.numel() or int((scales & 0x7C00).max()) != 0x7C00


GGUF = GgufFormat()
