"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...common.records import record
from ..ask import NEGATIVE, POSITIVE, Ask
from ..step import NoiseLevel
from ..validation import check_cfg
from .guidance import Memory


@record
class CFG:
    """velocity = negative + scale * (positive - negative); at scale 1 the negative prompt is not asked at all.

    Raises:
        InvalidInputError: `scale` is not in 0..100.

    Source: Ho and Salimans, "Classifier-Free Diffusion Guidance", arXiv 2207.12598.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_cfg(self.scale)

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """Both sides, or the positive alone."""
        return (POSITIVE,) if self.scale == 1.0 else (POSITIVE, NEGATIVE)

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        if len(answers) == 1:
            return answers[0]
        conditional, unconditional = answers
        return unconditional + self.scale * (conditional - unconditional)
