"""fp8 or int8 numbers with a scale for every block of neighbours: groups of a row, or square tiles."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..common.records import record
from .arithmetic import made_by_rows, scaled_numbers


@record
class BlockScaledCodec:
    """Codes in "weight" [rows, columns] times "scale" [a, b], a number for each block of rows/a x columns/b codes."""

    name: str = "8 bit, scaled in blocks"
    whole: bool = True

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        codes, scale = parts["weight"], parts["scale"]
        by_row = scale.repeat_interleave(shape[0] // scale.shape[0], dim=0)  # [rows, b]

        def numbers(run: slice) -> Tensor:
            blocks = scaled_numbers(codes[run], None, torch.float32).unflatten(1, (scale.shape[1], -1))
            return (blocks * by_row[run].unsqueeze(2)).flatten(1)

        return made_by_rows(shape, dtype, codes.device, numbers)


BLOCK_SCALED = BlockScaledCodec()
