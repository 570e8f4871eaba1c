"""nvfp4 and mxfp8 weights, with a scale for every 16 or 32 neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from ...common.errors import FileFault
from ...weights.arithmetic import FP8_DTYPES
from ...weights.blockwise import MXFP8, MXFP8_BLOCK, NVFP4, NVFP4_BLOCK, TILE
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint
from .scales import lost_scale, refuse_no_numbers

PRE_QUANT_SCALE = ".pre_quant_scale"
"""End of the name of the numbers that the inputs of a layer are multiplied by before."""

_E8M0_NAN = 0xFF


def read_nvfp4(checkpoint: Checkpoint, key: str) -> StoredWeight:
    """The nvfp4 matrix called `key`.

    Raises:
        FileFault: a scale is missing or does not fit.
    """
    weight = _matrix(checkpoint, key, (torch.uint8,))
    rows, columns = weight.shape[0], 2 * weight.shape[1]
    scale_name = key + "_scale_2"
    if scale_name not in checkpoint.tensors:
        raise lost_scale(key)
    scale = checkpoint.read(scale_name).float().clone()
    if scale.numel() != 1 or not bool(torch.isfinite(scale).all()):
        raise _unfit(scale_name, list(scale.shape), "one finite number")
    block_scale = _block_scale(checkpoint, key, rows, columns // NVFP4_BLOCK).view(torch.float8_e4m3fn)
    parts = {"weight": weight, "scale": scale.reshape(()), "block_scale": block_scale}
    inputs = key.removesuffix(".weight") + PRE_QUANT_SCALE
    if inputs in checkpoint.tensors:
        parts["columns"] = _of_columns(checkpoint, inputs, columns)
    return StoredWeight(NVFP4, parts, (rows, columns))


def read_mxfp8(checkpoint: Checkpoint, key: str) -> StoredWeight:
    """The mxfp8 matrix called `key`; errors as `read_nvfp4`."""
    weight = _matrix(checkpoint, key, (torch.float8_e4m3fn, torch.uint8)).view(torch.float8_e4m3fn)
    rows, columns = weight.shape
    block_scale = _block_scale(checkpoint, key, rows, columns // MXFP8_BLOCK)
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
    wanted = (-(-rows // TILE[0]) * TILE[0], -(-blocks // TILE[1]) * TILE[1])
    if scale.numel() != wanted[0] * wanted[1] or scale.element_size() != 1:
        raise _unfit(name, list(scale.shape), f"{wanted[0]} x {wanted[1]} bytes")
    if scale.dtype in FP8_DTYPES and not bool(torch.isfinite(scale.float()).all()):
        raise _unfit(name, "NaN", "finite numbers")
    return scale.view(torch.uint8).reshape(wanted)


def _of_columns(checkpoint: Checkpoint, name: str, columns: int) -> Tensor:
    """A number for each column of a matrix, float32 [columns]."""
    numbers = checkpoint.read(name).float().clone()
    if numbers.numel() != columns:
        raise _unfit(name, list(numbers.shape), f"{columns} numbers, one for each input")
    refuse_no_numbers(name, numbers)
    return numbers.reshape(columns)


def _unfit(name: str, found: object, wanted: str) -> FileFault:
    return FileFault(
        f"should be {wanted}, but is {found}",
        "The file is damaged or of an unknown kind: download it again, or use the fp8 file",
        repr(name),
    )
