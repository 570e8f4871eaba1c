"""Normalized attention guidance: a negative prompt in the pass of the positive one, so that it counts at cfg 1, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ...common.records import record
from ..ask import Ask, AvoidedText
from ..step import NoiseLevel
from .guidance import Guidance, Memory
from .parts import WHOLE_RUN, Part


@record
class AttentionGuidance:
    """Another guidance, whose positive passes lead away from the negative text.

    Attributes:
        guided: the other guidance.
        avoided: how far.
        part: the steps in which it counts.
    """

    guided: Guidance
    avoided: AvoidedText
    part: Part = WHOLE_RUN

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        asks = self.guided.asks(level)
        return tuple(self._led(ask) for ask in asks) if self.part.holds(level) else asks

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        return self.guided.velocity(answers, level, latent, memory)

    def _led(self, ask: Ask) -> Ask:
        if ask.side == "negative":
            return ask
        return replace(ask, perturbations=(*ask.perturbations, self.avoided))
