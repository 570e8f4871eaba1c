"""A look at the first numbers that come out of a transformer."""

from __future__ import annotations

import torch
from torch import Tensor

from ..common.errors import NumericalError


class NonFiniteError(NumericalError):
    """The first block gave NaN or infinity, so the video would be black."""


def check_finite(tokens: Tensor) -> None:
    """Looks at the first numbers that a run has made, with one sum; one wait for the device.

    Args:
        tokens: [B, L, D], what the first block gives.

    Raises:
        NonFiniteError: some of it is not finite.
    """
    if not bool(tokens.sum(dtype=torch.float32).isfinite()):
        raise NonFiniteError(
            "The first block of the model gave values that are NaN or infinite, where only finite ones make a "
            "picture. Choose precision bf16 or fp32 and attention 'sdpa', and check the model file."
        )
