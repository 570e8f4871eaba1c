"""The plain format: every weight is one bf16, fp16 or fp32 tensor."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...common.records import record
from ..files.checkpoint import Checkpoint, TensorInfo

FLOATS = frozenset({"BF16", "F16", "F32", "F64"})


@record
class PlainFormat:
    """Weights as they are."""

    name: str = "plain"
    companions: tuple[str, ...] = ()

    def matches(self, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bool:
        """All tensors are floating-point numbers of 16 bits or more."""
        return all(info.dtype in FLOATS for info in tensors.values())

    def read(self, checkpoint: Checkpoint, key: str) -> Tensor:
        """The tensor."""
        return checkpoint.read(key)


PLAIN = PlainFormat()
