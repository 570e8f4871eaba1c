"""int8 numbers times a scale per matrix or per row, plain or rotated before they were rounded (ConvRot)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .arithmetic import made_by_rows, scaled_numbers


@dataclass(frozen=True, slots=True)
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
