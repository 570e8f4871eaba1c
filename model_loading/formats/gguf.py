"""GGUF weights: matrices in ggml's blocks, kept as they are and dequantised for every use."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...common.errors import FileFault
from ...common.records import record
from ...weights.ggml_types import BLOCK_TYPES
from ...weights.gguf import CODECS
from ...weights.gguf_blocks import SCALES, UNPACK
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint, TensorInfo


@record
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
            FileFault: the tensor is of a ggml type this version cannot read, or its scales are no numbers.
        """
        info = checkpoint.tensors[key]
        if info.dtype not in BLOCK_TYPES:
            return checkpoint.read(key)
        if info.dtype not in UNPACK:
            raise FileFault(
                f"is stored as {info.dtype}, which this version cannot read",
                "Use a Q8_0, Q6_K, Q5_K_M, Q4_K_M or Q3_K_M file of the same model",
                f"tensor {key!r}",
            )
        packed = checkpoint.read(key)
        if not _has_finite_scales(packed, info.dtype):
            raise FileFault(
                "has scales that are no numbers (NaN or infinite), so every video would be black",
                "The file is damaged: download it again",
                f"tensor {key!r}",
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
