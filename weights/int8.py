"""int8 numbers times a scale per matrix or per row, plain or rotated before they were rounded (ConvRot)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from ..common.records import record
from .arithmetic import made_by_rows, row_runs, scaled_numbers


@record
class Int8Codec:
    """int8 numbers in "weight" times "scale"; groups of `group` neighbours in a row are then rotated back.

    Rounding after a rotation that mixes neighbours spreads outliers. The rotation matrix is its own inverse.

    Source: Huang et al., ConvRot, 2025 (arXiv 2512.03673); Comfy-Org/comfy-kitchen tensor/int8_utils.py (7d86acf).
    """

    group: int | None = None
    whole: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return "int8" if self.group is None else "int8, rotated"

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        codes, scale = parts["weight"], parts["scale"]
        if self.group is None:
            return scaled_numbers(codes, scale, dtype)
        rotation = rotation_matrix(self.group, codes.device)

        def numbers(run: slice) -> Tensor:
            return rotated(
                scaled_numbers(codes[run], scale if scale.ndim == 0 else scale[run], torch.float32), rotation
            )

        return made_by_rows(shape, dtype, codes.device, numbers)


INT8 = Int8Codec()


def rotated(numbers: Tensor, rotation: Tensor) -> Tensor:
    """numbers [rows, columns] with every group of neighbours in a row turned by `rotation_matrix`, there or back."""
    return (numbers.unflatten(1, (-1, len(rotation))) @ rotation).flatten(1)


@lru_cache(maxsize=16)
def rotation_matrix(size: int, device: torch.device) -> Tensor:
    """The regular Hadamard matrix [size, size], float32: symmetric, orthogonal, with equal row sums.

    A Kronecker power of the one of size 4; every entry is plus or minus 1/sqrt(size), an exact power of two.

    Args:
        size: a power of 4.
    """
    four = 0.5 - torch.eye(4).flip(0)
    matrix = torch.ones(1, 1, dtype=torch.float32)
    while len(matrix) < size:
        matrix = torch.kron(matrix, four)
    return matrix.to(device)


@record
class RotatedRows:
    """Numbers [..., width] as int8 codes and a scale for each row, rotated in groups before they were rounded.

    Attributes:
        codes: [rows, width], int8.
        scale: [rows, 1], float32: the largest number of a row is 127 times that.
        shape, dtype: of the numbers.
    """

    codes: Tensor
    scale: Tensor
    shape: torch.Size
    dtype: torch.dtype

    @classmethod
    def of(cls, numbers: Tensor) -> RotatedRows:
        """Rounds numbers [..., width]."""
        rows, width = numbers.flatten(0, -2), numbers.shape[-1]
        rotation = rotation_matrix(_group(width), numbers.device)
        codes = torch.empty(rows.shape, dtype=torch.int8, device=numbers.device)
        scale = torch.empty(len(rows), 1, dtype=torch.float32, device=numbers.device)
        for run in _runs_of(rows):
            rotated = (rows[run].float().unflatten(1, (-1, len(rotation))) @ rotation).flatten(1)
            scale[run] = rotated.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12) / 127
            codes[run] = (rotated / scale[run]).round_().to(torch.int8)
        return cls(codes, scale, numbers.shape, numbers.dtype)

    @property
    def nbytes(self) -> int:
        """Of codes and scales."""
        return self.codes.nbytes + self.scale.nbytes

    def to(self, device: torch.device) -> RotatedRows:
        """The same on a device."""
        return RotatedRows(self.codes.to(device), self.scale.to(device), self.shape, self.dtype)

    def plain(self) -> Tensor:
        """The numbers again, to within a rounding."""
        out = torch.empty(self.shape, dtype=self.dtype, device=self.codes.device)
        rows, rotation = out.flatten(0, -2), rotation_matrix(_group(self.shape[-1]), out.device)
        for run in _runs_of(rows):
            numbers = self.codes[run].float() * self.scale[run]
            rows[run] = (numbers.unflatten(1, (-1, len(rotation))) @ rotation).flatten(1)
        return out


def _group(width: int) -> int:
    """How many neighbours are rotated together: the largest power of 4, up to 256, that divides the width."""
    return next(group for group in (256, 64, 16, 4, 1) if width % group == 0)


def _runs_of(rows: Tensor) -> Iterator[slice]:
    return row_runs(*rows.shape, threads=None if rows.device.type == "cpu" else 64)
