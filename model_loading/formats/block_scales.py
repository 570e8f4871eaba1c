"""fp8 or int8 weights with a scale for every block of neighbours: groups of a row, or square tiles."""

from __future__ import annotations

from ...common.errors import FileFault
from ...weights.block_scales import BLOCK_SCALED
from ...weights.fp8 import FP8
from ...weights.int8 import INT8
from ...weights.stored import StoredWeight
from ..files.checkpoint import Checkpoint
from .scales import OTHER_PUBLISHER, refuse_no_numbers

_CODES = frozenset({"I8", "F8_E4M3", "F8_E5M2"})


def read_block_scaled(checkpoint: Checkpoint, key: str, scale_name: str) -> StoredWeight:
    """The matrix of codes called `key`; one scale, or one per row, is stored as in files without blocks.

    Args:
        scale_name: its scales: one number, [rows], [rows, 1], [a, b] or [a, b, 1], where a divides the rows and b the
            columns.

    Raises:
        FileFault: it is no matrix of codes, or its scales do not fit it or are not finite.
    """
    info = checkpoint.tensors[key]
    if len(info.shape) != 2 or info.dtype not in _CODES:
        raise FileFault(
            f"should be a matrix in fp8 or int8, but is {info.dtype} {list(info.shape)}", OTHER_PUBLISHER, repr(key)
        )
    rows, columns = info.shape
    scale = checkpoint.read(scale_name).float().clone()
    grid = _grid(tuple(scale.shape), rows)
    if grid is None or not all(grid) or rows % grid[0] or columns % grid[1]:
        raise FileFault(
            f"has the shape {list(scale.shape)}, which does not divide {key!r} of {list(info.shape)} into equal blocks",
            OTHER_PUBLISHER,
            f"the scale {scale_name!r}",
        )
    refuse_no_numbers(scale_name, scale)
    if grid in ((1, 1), (rows, 1)):
        codec = INT8 if info.dtype == "I8" else FP8
        scale = scale.reshape(()) if grid == (1, 1) else scale.reshape(rows, 1)
        return StoredWeight(codec, {"weight": checkpoint.read(key), "scale": scale}, info.shape)
    return StoredWeight(BLOCK_SCALED, {"weight": checkpoint.read(key), "scale": scale.reshape(grid)}, info.shape)


def _grid(shape: tuple[int, ...], rows: int) -> tuple[int, int] | None:
    """How many blocks there are along the rows and along the columns; None for a shape that does not tell."""
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) < 2 and (not shape or shape[0] in (1, rows)):
        return (shape[0] if shape else 1), 1
    return None
