"""nvfp4 and mxfp8 weights, with a scale for every 16 or 32 neighbours, read by the package comfy-kitchen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...common.errors import FileFault
from ...weights.arithmetic import FP8_DTYPES
from ...weights.blockwise import MXFP8, NVFP4, comfy_kitchen
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint, TensorInfo
from .scales import lost_scale

_E8M0_NAN = 0xFF
_TILE_ROWS, _TILE_COLUMNS = 128, 4  # block scales lie in tiles of this size, padded, in the order cuBLAS wants


def unpacked(tensors: Mapping[str, TensorInfo]) -> Mapping[str, TensorInfo]:
    """The same tensors, matrices of nvfp4 with the columns they stand for: a byte holds two of them.

    The second scale marks them: no other format here has one.
    """
    return {
        key: info._replace(shape=(info.shape[0], 2 * info.shape[1]))
        if info.dtype == "U8" and len(info.shape) == 2 and key + "_scale_2" in tensors
        else info
        for key, info in tensors.items()
    }


def read_nvfp4(checkpoint: Checkpoint, key: str) -> StoredWeight:
    """The nvfp4 matrix called `key`.

    Raises:
        MissingPackageError: comfy-kitchen is not installed.
        FileFault: a scale is missing or does not fit.
    """
    comfy_kitchen(NVFP4.name)
    weight = _matrix(checkpoint, key, (torch.uint8,))
    rows, columns = weight.shape[0], 2 * weight.shape[1]
    scale_name = key + "_scale_2"
    if scale_name not in checkpoint.tensors:
        raise lost_scale(key)
    scale = checkpoint.read(scale_name).float().clone()
    if scale.numel() != 1 or not bool(torch.isfinite(scale).all()):
        raise _unfit(scale_name, list(scale.shape), "one finite number")
    block_scale = _block_scale(checkpoint, key, rows, columns // 16).view(torch.float8_e4m3fn)
    parts = {"weight": weight, "scale": scale.reshape(()), "block_scale": block_scale}
    return StoredWeight(NVFP4, parts, (rows, columns))


def read_mxfp8(checkpoint: Checkpoint, key: str) -> StoredWeight:
    """The mxfp8 matrix called `key`; errors as `read_nvfp4`."""
    comfy_kitchen(MXFP8.name)
    weight = _matrix(checkpoint, key, (torch.float8_e4m3fn, torch.uint8)).view(torch.float8_e4m3fn)
    rows, columns = weight.shape
    block_scale = _block_scale(checkpoint, key, rows, columns // 32)
    # As a number of float8_e8m0fnu it would pass torch.isfinite, which takes every number of that type as finite.
    if bool((block_scale == _E8M0_NAN).any()):
        raise _unfit(key + "_scale", "NaN (no number)", "finite numbers")
    return StoredWeight(MXFP8, {"weight": weight, "block_scale": block_scale}, (rows, columns))


def _matrix(checkpoint: Checkpoint, key: str, dtypes: tuple[torch.dtype, ...]) -> Tensor:
    weight = checkpoint.read(key)
    if weight.ndim != 2 or weight.dtype not in dtypes:
        found = f"{str(weight.dtype).removeprefix('torch.')} {list(weight.shape)}"
        raise _unfit(key, found, "a matrix of bytes")
    return weight


def _block_scale(checkpoint: Checkpoint, key: str, rows: int, blocks: int) -> Tensor:
    """The tiles of scales as bytes [padded rows, padded blocks]."""
    name = key + "_scale"
    if name not in checkpoint.tensors:
        raise lost_scale(key)
    scale = checkpoint.read(name)
    wanted = (-(-rows // _TILE_ROWS) * _TILE_ROWS, -(-blocks // _TILE_COLUMNS) * _TILE_COLUMNS)
    if scale.numel() != wanted[0] * wanted[1] or scale.element_size() != 1:
        raise _unfit(name, list(scale.shape), f"{wanted[0]} x {wanted[1]} bytes")
    if scale.dtype in FP8_DTYPES and not bool(torch.isfinite(scale.float()).all()):
        raise _unfit(name, "NaN", "finite numbers")
    return scale.view(torch.uint8).reshape(wanted)


def _unfit(name: str, found: object, wanted: str) -> FileFault:
    return FileFault(
        f"should be {wanted}, but is {found}",
        "The file is damaged or of an unknown kind: download it again, or use the fp8 file",
        repr(name),
    )
