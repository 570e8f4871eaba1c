"""fp8 numbers, plain or times a scale per matrix or per row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..common.records import record
from .arithmetic import scaled_numbers


@record
class Fp8Codec:
    """fp8 numbers in "weight", times "scale" if there is one.

    Attributes:
        multiplies: whether the publisher allows matrices to be multiplied in fp8 too.
    """

    name: str = "fp8"
    multiplies: bool = True
    whole: bool = False

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Codec.dequantize`."""
        return scaled_numbers(parts["weight"], parts.get("scale"), dtype).view(shape)


FP8 = Fp8Codec()
FP8_STORED = Fp8Codec("fp8, multiplied in 16 bit", multiplies=False)
