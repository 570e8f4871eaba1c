"""The plain format: every weight is one bf16, fp16 or fp32 tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from torch import nn

from ..safetensors_file import TensorInfo

_FLOATS = frozenset({"BF16", "F16", "F32", "F64"})


@dataclass(frozen=True, slots=True)
class PlainFormat:
    """Weights as they are; modules are built from torch's own layers."""

    name: str = "plain"

    def matches(self, tensors: Mapping[str, TensorInfo]) -> bool:
        """All tensors are floating-point numbers of 16 bits or more."""
        return all(info.dtype in _FLOATS for info in tensors.values())

    @property
    def operations(self) -> ModuleType:
        """torch.nn."""
        return nn


PLAIN = PlainFormat()
