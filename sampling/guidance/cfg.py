"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..validation import check_cfg


@dataclass(frozen=True, slots=True)
class CFG:
    """velocity = negative + scale * (positive - negative); at scale 1 the negative prompt is not computed at all.

    Raises:
        InvalidInputError: `scale` is not in 0..100.

    Source: Ho and Salimans, "Classifier-Free Diffusion Guidance", arXiv 2207.12598.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_cfg(self.scale)

    @property
    def needs_negative(self) -> bool:
        """Whether the negative prompt is computed at all."""
        return self.scale != 1.0

    def velocity(self, positive: Callable[[], Tensor], negative: Callable[[], Tensor]) -> Tensor:
        """Guided velocity [B, C, T, h, w] from the two passes, each run only when it is needed."""
        if not self.needs_negative:
            return positive()
        conditional = positive()
        unconditional = negative()
        return unconditional + self.scale * (conditional - unconditional)
