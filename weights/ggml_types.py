"""The number formats of GGUF files: how many values a block holds, and in how many bytes.

Source: ggml-org/ggml, include/ggml.h (enum ggml_type), src/ggml-common.h (block structs), docs/gguf.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

import torch


class GgmlType(NamedTuple):
    """`elements` neighbouring values of a row are stored together in `size_bytes`."""

    name: str
    elements: int
    size_bytes: int


GGML_TYPES = MappingProxyType({
    0: GgmlType("F32", 1, 4), 1: GgmlType("F16", 1, 2), 2: GgmlType("Q4_0", 32, 18), 3: GgmlType("Q4_1", 32, 20),
    6: GgmlType("Q5_0", 32, 22), 7: GgmlType("Q5_1", 32, 24), 8: GgmlType("Q8_0", 32, 34), 9: GgmlType("Q8_1", 32, 40),
    10: GgmlType("Q2_K", 256, 84), 11: GgmlType("Q3_K", 256, 110), 12: GgmlType("Q4_K", 256, 144),
    13: GgmlType("Q5_K", 256, 176), 14: GgmlType("Q6_K", 256, 210), 15: GgmlType("Q8_K", 256, 292),
    16: GgmlType("IQ2_XXS", 256, 66), 17: GgmlType("IQ2_XS", 256, 74), 18: GgmlType("IQ3_XXS", 256, 98),
    19: GgmlType("IQ1_S", 256, 50), 20: GgmlType("IQ4_NL", 32, 18), 21: GgmlType("IQ3_S", 256, 110),
    22: GgmlType("IQ2_S", 256, 82), 23: GgmlType("IQ4_XS", 256, 136), 24: GgmlType("I8", 1, 1),
    25: GgmlType("I16", 1, 2), 26: GgmlType("I32", 1, 4), 27: GgmlType("I64", 1, 8), 28: GgmlType("F64", 1, 8),
    29: GgmlType("IQ1_M", 256, 56), 30: GgmlType("BF16", 1, 2), 34: GgmlType("TQ1_0", 256, 54),
    35: GgmlType("TQ2_0", 256, 66), 39: GgmlType("MXFP4", 32, 17), 40: GgmlType("NVFP4", 64, 36),
    41: GgmlType("Q1_0", 128, 18),
})  # fmt: skip

# The formats of single values, which torch has too.
PLAIN_TYPES = MappingProxyType({
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
})  # fmt: skip

BLOCK_TYPES = MappingProxyType({kind.name: kind for kind in GGML_TYPES.values() if kind.name not in PLAIN_TYPES})

TYPES_BY_NAME = MappingProxyType({kind.name: kind for kind in GGML_TYPES.values()})
