"""4-bit numbers, two in a byte: rotated (convrot_w4a4), on an int8 grid (asym_w4a8_int8), with offsets (awq_w4a16)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from ..common.records import record
from .arithmetic import made_by_rows
from .int8 import rotated, rotation_matrix

SIGNED = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0)
"""What the sixteen codes of two's complement stand for."""
CENTRED = tuple(float(code - 8) for code in range(16))
"""What they stand for where 8 is zero."""

_PLAIN = tuple(float(code) for code in range(16))
_GRID = 127.0  # the largest number of int8 that W4A8 uses


@record
class RotatedInt4Codec:
    """Signed 4-bit numbers in "weight" [rows, columns / 2] times "scale"; groups of a row are then rotated back.

    Source: Huang et al., ConvRot, 2025 (arXiv 2512.03673); Comfy-Org/comfy-kitchen, tensor/convrot_w4a4.py (0.2.40).
    """

    group: int
    name: str = "4 bit, rotated"
    whole: bool = False

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        packed, scale = parts["weight"], parts["scale"]
        table, rotation = pairs(SIGNED, packed.device), rotation_matrix(self.group, packed.device)

        def numbers(run: slice) -> Tensor:
            return rotated(unpacked(packed[run], table).mul_(scale if scale.ndim == 0 else scale[run]), rotation)

        return made_by_rows(shape, dtype, packed.device, numbers)


@record
class GridCodec:
    """Codes of 4 or 6 bits in "weight" times "group_scale" [rows, groups], rounded to int8, times "scale" [rows, 1].

    Groups of `group` neighbours in a row are then rotated back. Codes of 4 bits are numbered levels where there is a
    "codebook" [16], else 8 is their zero; "correction" [rows, groups] is added to the numbers of a group. Rows of
    6 bits hold the lower four of all codes, then the upper two.

    Source: Comfy-Org/comfy-kitchen, tensor/w4a8_int8.py and w4a8_packed.py (0.2.40).
    """

    group: int
    name: str = "4 or 6 bit, on a grid of int8, rotated"
    whole: bool = False

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        packed, group_scale, scale = parts["weight"], parts["group_scale"], parts["scale"]
        correction, codebook = parts.get("correction"), parts.get("codebook")
        is_longer = packed.shape[1] > shape[1] // 2
        table = pairs(_PLAIN if is_longer else CENTRED, packed.device) if codebook is None else pairs_of(codebook)
        rotation = rotation_matrix(self.group, packed.device)

        def numbers(run: slice) -> Tensor:
            codes = unpacked(packed[run, : shape[1] // 2], table)
            if is_longer:
                codes += _upper_bits(packed[run, shape[1] // 2 :])
            groups = codes.unflatten(1, (group_scale.shape[1], -1)).mul_(group_scale[run].float().unsqueeze(2))
            groups = groups.round_().clamp_(-_GRID, _GRID).mul_(scale[run].unsqueeze(2))
            if correction is not None:
                groups += correction[run].float().unsqueeze(2)
            return rotated(groups.flatten(1), rotation)

        return made_by_rows(shape, dtype, packed.device, numbers)


@record
class OffsetCodec:
    """4-bit numbers around 8 in "weight" times "scale" [rows, groups], plus "offset" [rows, groups].

    Source: Lin et al., AWQ, 2023 (arXiv 2306.00978); Comfy-Org/comfy-kitchen, tensor/awq_w4a16.py (0.2.40).
    """

    name: str = "4 bit, with offsets"
    whole: bool = False

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        packed, scale, offset = parts["weight"], parts["scale"], parts["offset"]
        table = pairs(CENTRED, packed.device)

        def numbers(run: slice) -> Tensor:
            groups = unpacked(packed[run], table).unflatten(1, (scale.shape[1], -1))
            return groups.mul_(scale[run].float().unsqueeze(2)).add_(offset[run].float().unsqueeze(2)).flatten(1)

        return made_by_rows(shape, dtype, packed.device, numbers)


OFFSET = OffsetCodec()


@lru_cache(maxsize=16)
def pairs(levels: tuple[float, ...], device: torch.device, *, upper_first: bool = False) -> Tensor:
    """The table of `pairs_of` for levels that are known beforehand."""
    return pairs_of(torch.tensor(levels, dtype=torch.float32, device=device), upper_first=upper_first)


def pairs_of(levels: Tensor, *, upper_first: bool = False) -> Tensor:
    """The two numbers that each byte stands for, for `unpacked`: int64 [256], the bits of two float32.

    Args:
        levels: what the sixteen codes stand for, float32 [16].
        upper_first: whether the upper half of a byte is the first of two neighbours.
    """
    codes = torch.arange(256, device=levels.device)
    halves = (codes >> 4, codes & 15) if upper_first else (codes & 15, codes >> 4)
    return torch.stack([levels[half] for half in halves], -1).view(torch.int64).flatten()


def unpacked(packed: Tensor, table: Tensor) -> Tensor:
    """packed [rows, bytes], of eight bits, to float32 [rows, 2 x bytes], by a table of `pairs`.

    Looking up two numbers at a time is as fast as shifting bits (measured, CPU), and takes any sixteen levels.
    """
    index = packed.contiguous().view(torch.uint8).int()
    return torch.index_select(table, 0, index.flatten()).view(index.shape).view(torch.float32)


def _upper_bits(packed: Tensor) -> Tensor:
    """What the upper two bits add, four in a byte, the first in the lowest: float32 [rows, 4 x bytes]."""
    shifts = torch.arange(0, 8, 2, dtype=torch.uint8, device=packed.device)
    bits = packed.contiguous().view(torch.uint8).unsqueeze(2).bitwise_right_shift(shifts).bitwise_and_(3)
    return bits.flatten(1).float().mul_(16).sub_(32)
