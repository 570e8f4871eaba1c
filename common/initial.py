"""Initial values of parameters that checkpoints replace."""

from __future__ import annotations

import torch
from torch import Tensor


def scaled_normal(*shape: int, width: int) -> Tensor:
    """Normal values of the deviation 1 / sqrt(width), float32; without values on the meta device.

    Dividing a tensor there, as filling it with `normal_`, makes torch import its compiler (1.7 s of processor time,
    torch 2.13), although nothing is computed.
    """
    values = torch.randn(*shape)
    return values if values.is_meta else values / width**0.5
