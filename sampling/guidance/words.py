"""More or less of what words say: a slider between two texts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...common.records import record
from ..ask import Ask, OtherText
from ..step import NoiseLevel
from .guidance import Guidance, Memory, OfScale
from .parts import WHOLE_RUN, Part


@record
class WordsSlider:
    """Another guidance, and `strength` times the way from one text to another, with all else of the positive prompt.

    Attributes:
        guided: the other guidance.
        more, less: the texts.
        strength: how far towards `more`; below 0 towards `less`, 0 turns this off.
        part: the steps in which it counts; each takes two passes more.

    Source: the difference of two prompts' velocities as in composable diffusion, Liu et al., arXiv 2206.01714,
    equation 12, with a negative weight for one of them.
    """

    guided: Guidance
    more: OtherText
    less: OtherText
    strength: float
    part: Part = WHOLE_RUN

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        asks = self.guided.asks(level)
        if not self._counts(level, asks):
            return asks
        return (*asks, Ask("positive", (self.more,)), Ask("positive", (self.less,)))

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        if not self._counts(level, self.guided.asks(level)):
            return self.guided.velocity(answers, level, latent, memory)
        *others, more, less = answers
        return self.guided.velocity(others, level, latent, memory) + self.strength * (more - less)

    def _counts(self, level: NoiseLevel, asks: Sequence[Ask]) -> bool:
        """A step that asks nothing else is to change nothing."""
        return bool(self.strength and asks) and self.part.holds(level)


@record
class SliderSettings:
    """From a scale to the guidance of `before` with the slider on top, see `WordsSlider`."""

    more: OtherText
    less: OtherText
    strength: float
    part: Part
    before: OfScale

    def __call__(self, scale: float) -> Guidance:
        """The guidance at a scale."""
        return WordsSlider(self.before(scale), self.more, self.less, self.strength, self.part)
