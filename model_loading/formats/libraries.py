"""int8 and fp8 files of quantisation libraries (optimum-quanto, torchao, SDNQ), under the names of `spellings`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...common.errors import FileFault
from ...common.records import record
from ...weights.fp8 import FP8
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint, TensorInfo
from .block_scales import read_block_scaled
from .fp8 import read_fp8
from .scales import SCALE_COMPANIONS

LIBRARY_KEY = "wan_director.quantised_by"
"""The metadata field under which `spellings` hands on who wrote a file."""

ZERO_POINT = ".weight_zero_point"
_CODES = frozenset({"I8", "F8_E4M3", "F8_E5M2"})


@record
class LibraryFormat:
    """Codes times a scale per matrix, row or group of columns, as written by one library."""

    name: str
    companions: tuple[str, ...] = (*SCALE_COMPANIONS, ZERO_POINT)

    def matches(self, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bool:
        """`spellings` found the library's names."""
        return metadata.get(LIBRARY_KEY) == self.name

    def read(self, checkpoint: Checkpoint, key: str) -> Tensor | StoredWeight:
        """See `WeightFormat.read`."""
        info = checkpoint.tensors[key]
        scale = key.removesuffix(".weight") + ".weight_scale"
        if info.dtype not in _CODES or scale not in checkpoint.tensors:
            return read_fp8(checkpoint, key, FP8)
        _refuse_zero_points(checkpoint, key)
        return read_block_scaled(checkpoint, key, scale)


LIBRARY_FORMATS = tuple(LibraryFormat(name) for name in ("quanto", "torchao", "SDNQ"))


def _refuse_zero_points(checkpoint: Checkpoint, key: str) -> None:
    name = key.removesuffix(".weight") + ZERO_POINT
    if name in checkpoint.tensors and bool(checkpoint.read(name).any()):
        raise FileFault(
            "are not symmetric around zero (its zero points are not 0), which this version cannot read",
            "Use a symmetric int8 file, or the bf16 file of the same model",
            f"the numbers of {key!r}",
        )
