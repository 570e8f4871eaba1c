"""The matrices that packed bytes stand for, as a header would tell of them, and what lies in the file for each."""

from __future__ import annotations

from collections.abc import Mapping

from ..files.checkpoint import Checkpoint, TensorInfo
from .comfy_quant import layer_config, setting
from .four_bit import COLUMNS, ENDS
from .scales import WEIGHT_SCALES

_BESIDE = ("_scale_2", *ENDS)  # after the whole name of a weight


def unpacked(checkpoint: Checkpoint) -> Mapping[str, TensorInfo]:
    """The tensors of a file, matrices of several numbers in a byte with the columns they stand for.

    The second scale marks those of nvfp4: no other format here has one. Others are marked by what their layer says.

    Raises:
        FileFault: what a layer says is not readable.
    """
    tensors = checkpoint.tensors
    return {key: info._replace(shape=_shape(checkpoint, key, info)) for key, info in tensors.items()}


def stored_bytes(tensors: Mapping[str, TensorInfo], key: str) -> int:
    """Bytes of the weight called `key` and of what has to be kept beside it to read it."""
    layer = key.removesuffix(".weight")
    names = [key, *(layer + end for end in (*WEIGHT_SCALES, ".pre_quant_scale")), *(key + end for end in _BESIDE)]
    return sum(tensors[name].size_bytes for name in names if name in tensors)


def _shape(checkpoint: Checkpoint, key: str, info: TensorInfo) -> tuple[int, ...]:
    if len(info.shape) != 2 or info.dtype not in ("U8", "I8"):
        return info.shape
    rows, width = info.shape
    if info.dtype == "U8" and key + "_scale_2" in checkpoint.tensors:
        return rows, 2 * width
    config = layer_config(checkpoint, key) or {}
    usual, columns = COLUMNS.get(str(config.get("format")), (0, None))
    found = columns(checkpoint.tensors, key, setting(config, "group_size", usual)) if columns else None
    return info.shape if found is None else (rows, found)
