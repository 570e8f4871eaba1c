"""What the denoiser asks of a guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from torch import Tensor

from ..ask import Ask
from ..step import NoiseLevel

Memory = dict[str, Tensor]
"""What a guidance remembers between answers: values that can be saved with the state of a run."""


class Guidance(Protocol):
    """Which questions a step puts to the model, and what their answers make."""

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """The questions at a noise level, perhaps none; each is a pass of the model."""
        ...

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """The guided velocity [B, C, T, h, w], from that of each question in order; none is written to.

        Args:
            latent: [B, C, T, h, w], what the model was asked about.
            memory: what the guidance remembers from one answer of a run to the next, by names of its own; empty at
                the beginning. Entries are put in anew, never written into.
        """
        ...


OfScale = Callable[[float], Guidance]
"""From a guidance scale to the guidance."""


def most_asks(guidance: Guidance, levels: Iterable[NoiseLevel]) -> tuple[Ask, ...]:
    """The questions of the step that puts the most of them, of the steps that begin at these noise levels."""
    return max((guidance.asks(level) for level in levels), key=len, default=())
