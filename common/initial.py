"""Initial values of parameters that checkpoints replace."""

from __future__ import annotations

import torch
from torch import Tensor


def scaled_normal(*shape: int, width: int) -> Tensor:
    """Normal values of the deviation 1 / sqrt(width), float32; without values on the meta device.

    Nothing is computed there, but drawing values makes torch import sympy (0.5 s of processor time, torch 2.13), and
    dividing or filling them its compiler (1.7 s).
    """
    values = torch.empty(*shape)
    return values if values.is_meta else values.normal_() / width**0.5
