"""How a clip is cut into windows that the model sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class WholeClip:
    """The model sees the whole clip at once."""

    def velocity(self, predict: Callable[[Tensor], Tensor], latent: Tensor) -> Tensor:
        """Velocity [B, C, T, h, w] of the whole latent."""
        return predict(latent)
