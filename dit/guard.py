"""A look at the first numbers that come out of a transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..common.errors import NumericalError


class NonFiniteError(NumericalError):
    """The first block gave NaN or infinity, so the video would be black."""


def watch_first_block(block: nn.Module, on_sound: Callable[[], None]) -> Any:
    """Looks once at what `block` gives [B, L, D], with one sum, in its next call; one wait for the device.

    `on_sound` is called when all of it is finite.

    Returns:
        A handle whose `remove()` ends the watch; it ends by itself after the call.

    Raises:
        NonFiniteError: in that call, when something is not.
    """

    def look(_block: nn.Module, _inputs: tuple, tokens: Tensor) -> None:
        handle.remove()
        if not bool(tokens.sum(dtype=torch.float32).isfinite()):
            raise NonFiniteError(
                "The first block of the model gave values that are NaN or infinite, where only finite ones make a "
                "picture. Choose precision bf16 or fp32 and attention 'sdpa', and check the model file."
            )
        on_sound()

    handle = block.register_forward_hook(look)
    return handle
