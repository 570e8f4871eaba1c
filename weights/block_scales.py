"""fp8 or int8 numbers with a scale for every block of neighbours: groups of a row, or square tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .arithmetic import row_runs, scaled_numbers


@dataclass(frozen=True, slots=True)
class BlockScaledCodec:
    """Codes in "weight" [rows, columns] times "scale" [a, b], a number for each block of rows/a x columns/b codes."""

    name: str = "8 bit, scaled in blocks"
    whole: bool = True

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        codes, scale = parts["weight"], parts["scale"]
        by_row = scale.repeat_interleave(shape[0] // scale.shape[0], dim=0)  # [rows, b]
        out = torch.empty(shape, dtype=dtype, device=codes.device)
        for run in row_runs(*shape, threads=None if codes.device.type == "cpu" else 64):
            numbers = scaled_numbers(codes[run], None, torch.float32)
            out[run] = (numbers.unflatten(1, (scale.shape[1], -1)) * by_row[run].unsqueeze(2)).flatten(1)
        return out


BLOCK_SCALED = BlockScaledCodec()
