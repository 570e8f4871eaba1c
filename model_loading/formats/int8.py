"""int8 weights with a scale per matrix or per row, plain or rotated before they were rounded (ConvRot)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...common.errors import FileFault
from ...common.records import record
from ...weights.fp8 import FP8
from ...weights.int8 import INT8, Int8Codec
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint, TensorInfo
from .fp8 import read_fp8
from .plain import FLOATS
from .scales import OTHER_PUBLISHER, SCALE_COMPANIONS, WEIGHT_SCALES, lost_scale, read_scale


@record
class Int8Format:
    """Files with int8 matrices and a `.weight_scale` for each, as LightX2V publishes them (one scale per row)."""

    name: str = "int8"
    companions: tuple[str, ...] = SCALE_COMPANIONS

    def matches(self, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bool:
        """There are int8 tensors and scales, and all others are fp8 or wider numbers."""
        dtypes = {info.dtype for info in tensors.values()}
        known = FLOATS | {"I8", "F8_E4M3", "F8_E5M2"}
        return "I8" in dtypes and dtypes <= known and any(key.endswith(WEIGHT_SCALES) for key in tensors)

    def read(self, checkpoint: Checkpoint, key: str) -> Tensor | StoredWeight:
        """See `WeightFormat.read`."""
        if checkpoint.tensors[key].dtype == "I8":
            return read_int8(checkpoint, key, INT8)
        return read_fp8(checkpoint, key, FP8)


INT8_FORMAT = Int8Format()


def read_int8(checkpoint: Checkpoint, key: str, codec: Int8Codec) -> StoredWeight:
    """The int8 matrix called `key` with its scale.

    Raises:
        FileFault: it is no matrix, its scale is missing or wrong, or its rows cannot be rotated by the codec.
    """
    shape = checkpoint.tensors[key].shape
    if len(shape) != 2 or checkpoint.tensors[key].dtype != "I8":
        raise FileFault(
            f"should be an int8 matrix, but is {checkpoint.tensors[key].dtype} {list(shape)}",
            OTHER_PUBLISHER,
            repr(key),
        )
    if codec.group is not None:
        check_groups(key, shape[1], codec.group)
    scale = read_scale(checkpoint, key)
    if scale is None:
        raise lost_scale(key)
    return StoredWeight(codec, {"weight": checkpoint.read(key), "scale": scale}, shape)


def check_groups(key: str, columns: int, group: int) -> None:
    """Checks that the rows of a matrix called `key` can be rotated in groups of `group` columns.

    Raises:
        FileFault: they cannot.
    """
    if not _is_power_of_4(group) or columns % group:
        raise FileFault(
            f"claims to be rotated in groups of {group}, which must be a power of 4 that divides its {columns} columns",
            OTHER_PUBLISHER,
            repr(key),
        )


def _is_power_of_4(number: int) -> bool:
    return 4 <= number <= 4**8 and number.bit_count() == 1 and number.bit_length() % 2 == 1
