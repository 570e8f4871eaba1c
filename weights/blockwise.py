"""nvfp4 and mxfp8 numbers, with a scale for every 16 or 32 neighbours, which lie in the tiles that GPUs multiply."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..common.records import record
from .arithmetic import made_by_rows, scaled_numbers
from .four_bit import pairs, unpacked

NVFP4_BLOCK, MXFP8_BLOCK = 16, 32
"""Neighbours in a row that share a scale."""
TILE = (128, 4)
"""Rows and columns of scales that lie together; both sides of a matrix of scales are filled up to multiples."""

_TILE_ROWS = 32  # rows of a tile as it lies in memory; each holds those of four rows of the matrix, 32 apart
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


@record
class Nvfp4Codec:
    """4-bit numbers, two per byte of "weight", times "block_scale" (fp8, in tiles) times "scale".

    Where inputs are to be multiplied by a number for each column before, which evens out their sizes, the matrix has
    these in "columns" [columns] and takes them over: x * columns @ W.T is x @ (W * columns).T.

    Source: NVIDIA cuBLAS, 1D block scaling factors layout; Comfy-Org/ComfyUI, comfy/ops.py (pre_quant_scale; 0.33.0).
    """

    name: str = "nvfp4"
    whole: bool = True

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        packed, columns = parts["weight"], parts.get("columns")
        table = pairs(_E2M1, packed.device, upper_first=True)
        scales = in_rows(parts["block_scale"], shape[0], shape[1] // NVFP4_BLOCK).float().mul_(parts["scale"])

        def numbers(run: slice) -> Tensor:
            blocks = unpacked(packed[run], table).unflatten(1, (-1, NVFP4_BLOCK))
            whole = blocks.mul_(scales[run].unsqueeze(2)).flatten(1)
            return whole if columns is None else whole.mul_(columns)

        return made_by_rows(shape, dtype, packed.device, numbers)


@record
class Mxfp8Codec:
    """fp8 numbers in "weight" times "block_scale" (bytes that are powers of two, in tiles)."""

    name: str = "mxfp8"
    whole: bool = True

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        codes = parts["weight"]
        powers = in_rows(parts["block_scale"].view(torch.uint8), shape[0], shape[1] // MXFP8_BLOCK)
        scales = _power_of_two(powers)

        def numbers(run: slice) -> Tensor:
            blocks = scaled_numbers(codes[run], None, torch.float32).unflatten(1, (-1, MXFP8_BLOCK))
            return blocks.mul_(scales[run].unsqueeze(2)).flatten(1)

        return made_by_rows(shape, dtype, codes.device, numbers)


NVFP4, MXFP8 = Nvfp4Codec(), Mxfp8Codec()


def in_rows(tiles: Tensor, rows: int, columns: int) -> Tensor:
    """Scales that lie in tiles, [padded rows, padded columns], as they belong to the matrix: [rows, columns].

    A tile of 128 x 4 lies as 32 rows of 16: row r, column c of it at [r % 32, r // 32 * 4 + c].
    """
    down, across = -(-rows // TILE[0]), -(-columns // TILE[1])
    lying = tiles.view(torch.uint8).reshape(down, across, _TILE_ROWS, TILE[0] // _TILE_ROWS, TILE[1])
    ordered = lying.permute(0, 3, 2, 1, 4).reshape(down * TILE[0], across * TILE[1])
    return ordered[:rows, :columns].contiguous().view(tiles.dtype)


def _power_of_two(exponents: Tensor) -> Tensor:
    """2 ** (exponent - 127) of bytes, float32: by its bits, of which those of 2 ** -127 are the only odd ones."""
    return exponents.int().bitwise_left_shift_(23).clamp_(min=1 << 22).view(torch.float32)
