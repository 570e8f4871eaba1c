"""ComfyUI's layers of 4-bit numbers: convrot_w4a4, asym_w4a8_int8 (also of 6 bits) and awq_w4a16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from ...common.errors import FileFault
from ...weights.four_bit import OFFSET, GridCodec, RotatedInt4Codec
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint, TensorInfo
from .int8 import check_groups
from .scales import OTHER_PUBLISHER, lost_scale, read_scale, refuse_no_numbers

ENDS = ("_s_rel", "_s_channel", "_codebook", "_correction", "_zeros", "_zero")
"""What the tensors beside a weight are called, behind its name; scales as usual."""

_BYTES = frozenset({"I8", "U8"})
_FLOATS = frozenset({"BF16", "F16", "F32"})
_LEAST_GROUP, _GRID_COLUMNS = 4, 16  # of W4A8: groups divide 16 columns or are multiples of them
_GROUP, _AWQ_GROUP = 16, 64


def read_rotated_int4(checkpoint: Checkpoint, key: str, group: int) -> StoredWeight:
    """The convrot_w4a4 matrix called `key`, rotated in groups of `group` columns.

    Raises:
        FileFault: it is no matrix of bytes, its scale is missing or wrong, or its rows cannot be rotated.
    """
    rows, half = _matrix(checkpoint, key)
    check_groups(key, 2 * half, group)
    scale = read_scale(checkpoint, key)
    if scale is None:
        raise lost_scale(key)
    return StoredWeight(RotatedInt4Codec(group), {"weight": checkpoint.read(key), "scale": scale}, (rows, 2 * half))


def read_grid(checkpoint: Checkpoint, key: str, group: int, size: object) -> StoredWeight:
    """The asym_w4a8_int8 matrix called `key`, with a scale for every `size` columns; rest as `read_rotated_int4`."""
    rows, width = _matrix(checkpoint, key)
    relative = _beside(checkpoint, key, "_s_rel", (rows, None), _FLOATS | {"F8_E4M3", "U8"})
    channel = _beside(checkpoint, key, "_s_channel", (rows,), _FLOATS).float().reshape(rows, 1)
    columns = grid_columns(checkpoint.tensors, key, size)
    if columns is None:
        raise FileFault(
            f"has {width} bytes in a row and {relative.shape[1]} scales for every {str(size)[:20]} numbers, which is "
            "neither 4 nor 6 bits each",
            OTHER_PUBLISHER,
            repr(key),
        )
    check_groups(key, columns, group)
    relative = relative.view(torch.float8_e4m3fn) if relative.dtype == torch.uint8 else relative
    refuse_no_numbers(key + "_s_channel", channel)
    refuse_no_numbers(key + "_s_rel", relative.float())
    parts = {"weight": checkpoint.read(key), "group_scale": relative, "scale": channel}
    if key + "_codebook" in checkpoint.tensors:
        parts["codebook"] = _beside(checkpoint, key, "_codebook", (16,), _FLOATS).float()
    if key + "_correction" in checkpoint.tensors:
        across = _beside(checkpoint, key, "_correction", (relative.shape[1], rows), _FLOATS)
        parts["correction"] = across.T.contiguous()
    if 2 * width > columns and len(parts) > 3:
        raise FileFault("has 6 bits for a number and levels of 4 bits beside", OTHER_PUBLISHER, repr(key))
    return StoredWeight(GridCodec(group), parts, (rows, columns))


def grid_columns(tensors: Mapping[str, TensorInfo], key: str, size: object) -> int | None:
    """The columns of an asym_w4a8_int8 matrix: as many as the scales serve, if a row has 4 or 6 bits for each."""
    scales = tensors.get(key + "_s_rel")
    if scales is None or len(scales.shape) != 2 or type(size) is not int or size < _LEAST_GROUP:
        return None
    columns, bits = scales.shape[1] * size, 8 * tensors[key].shape[1]
    whole = _GRID_COLUMNS % size == 0 or size % _GRID_COLUMNS == 0
    is_six = bits == 6 * columns and size % _GRID_COLUMNS == 0
    return columns if columns and whole and (bits == 4 * columns or is_six) else None


def read_offset(checkpoint: Checkpoint, key: str, size: object) -> StoredWeight:
    """The awq_w4a16 matrix called `key`, with a scale and an offset for every `size` columns.

    Raises:
        FileFault: it is no matrix of bytes, or a scale or an offset is missing or does not fit it.
    """
    rows, half = _matrix(checkpoint, key)
    if type(size) is not int or size < 2 or 2 * half % size:
        raise FileFault(
            f"claims a scale for every {str(size)[:20]} columns, which do not divide its {2 * half}",
            OTHER_PUBLISHER,
            repr(key),
        )
    groups = 2 * half // size
    offset_end = "_zero" if key + "_zero" in checkpoint.tensors else "_zeros"
    parts = {"weight": checkpoint.read(key)}
    for name, end in (("scale", "_scale"), ("offset", offset_end)):
        part = _beside(checkpoint, key, end, (groups, rows), _FLOATS)
        refuse_no_numbers(key + end, part)
        parts[name] = part.T.contiguous()
    return StoredWeight(OFFSET, parts, (rows, 2 * half))


def _twice(tensors: Mapping[str, TensorInfo], key: str, size: object) -> int | None:
    return 2 * tensors[key].shape[1]


COLUMNS: Mapping[str, tuple[int, Callable[[Mapping[str, TensorInfo], str, object], int | None]]] = MappingProxyType({
    "convrot_w4a4": (0, _twice),
    "asym_w4a8_int8": (_GROUP, grid_columns),
    "awq_w4a16": (_AWQ_GROUP, _twice),
})  # fmt: skip
"""Format -> the columns that share a scale where a file does not say, and how many columns its bytes stand for."""


def _matrix(checkpoint: Checkpoint, key: str) -> tuple[int, int]:
    """Rows of a matrix of bytes, and bytes in each."""
    info = checkpoint.tensors[key]
    if len(info.shape) != 2 or info.dtype not in _BYTES:
        raise FileFault(
            f"should be a matrix of bytes, but is {info.dtype} {list(info.shape)}", OTHER_PUBLISHER, repr(key)
        )
    return info.shape[0], info.shape[1]


def _beside(
    checkpoint: Checkpoint, key: str, end: str, shape: tuple[int | None, ...], dtypes: frozenset[str]
) -> Tensor:
    """A tensor beside the weight called `key`, of this shape (None: any size) and one of these number formats."""
    name = key + end
    info = checkpoint.tensors.get(name)
    if info is None:
        raise FileFault(
            f"is stored in 4 bits, but {name!r} is not in the file",
            "It is incomplete: download it again, or use the bf16 file",
            f"the weight {key!r}",
        )
    fits = len(info.shape) == len(shape) and all(want in (None, size) for want, size in zip(shape, info.shape))
    if not fits or info.dtype not in dtypes:
        wanted = " x ".join("any number" if size is None else str(size) for size in shape)
        raise FileFault(
            f"is {info.dtype} {list(info.shape)}, where {key!r} needs {wanted} numbers", OTHER_PUBLISHER, repr(name)
        )
    return checkpoint.read(name)
