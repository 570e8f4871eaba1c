"""Skip-layer guidance: away from what the model makes without some of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ..ask import Ask, AvoidedText, SkippedBlocks
from ..step import NoiseLevel
from .guidance import Guidance, Memory
from .low_pass import BlurredFrames
from .parts import WHOLE_RUN, Part


@record
class SkipLayers:
    """Another guidance, and `scale` times the way from a positive pass without some blocks to the whole one.

    Attributes:
        guided: the other guidance.
        blocks: that are left out, by number; none turns this off.
        scale: how far; 0 turns this off.
        part: the steps in which it counts.
        rescale: 0..1, how much of the spread of the guess of the clean latent is set back to that of the positive
            prompt's.

    Source: Stability AI's guidance for SD 3.5 after perturbed-attention guidance, arXiv 2403.17377; ComfyUI v0.33.0,
    comfy_extras/nodes_slg.py.
    """

    guided: Guidance
    blocks: frozenset[int]
    scale: float = 3.0
    part: Part = WHOLE_RUN
    rescale: float = 0.0

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        asks = self.guided.asks(level)
        if not self._counts(level, asks):
            return asks
        whole = asks[_whole(asks)]
        return (*asks, replace(whole, perturbations=(*whole.perturbations, SkippedBlocks(self.blocks))))

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        asks = self.guided.asks(level)
        guided = self.guided.velocity(answers[: len(asks)], level, latent, memory)
        if not self._counts(level, asks):
            return guided
        whole, weak = answers[_whole(asks)], answers[-1]
        guided = guided + self.scale * (whole - weak)
        return self._rescaled(guided, whole, level.sigma, latent) if self.rescale else guided

    def _counts(self, level: NoiseLevel, asks: Sequence[Ask]) -> bool:
        return bool(self.scale and self.blocks) and _whole(asks) >= 0 and self.part.holds(level)

    def _rescaled(self, guided: Tensor, whole: Tensor, sigma: float, latent: Tensor) -> Tensor:
        """The velocity whose guess of the clean latent spreads as the positive prompt's does."""
        clean, of_positive = latent - sigma * guided, latent - sigma * whole
        factor = self.rescale * of_positive.std() / clean.std() + (1.0 - self.rescale)
        return (latent - factor * clean) / sigma


@record
class WeakNegative:
    """Another guidance, whose negative passes leave out some blocks.

    Attributes:
        guided: the other guidance.
        blocks: that are left out, by number.
        part: the steps in which they are.

    Source: ComfyUI v0.33.0, comfy_extras/nodes_slg.py, the simple one.
    """

    guided: Guidance
    blocks: frozenset[int]
    part: Part = WHOLE_RUN

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        asks = self.guided.asks(level)
        return tuple(self._weakened(ask) for ask in asks) if self.part.holds(level) else asks

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        return self.guided.velocity(answers, level, latent, memory)

    def _weakened(self, ask: Ask) -> Ask:
        if ask.side == "positive":
            return ask
        return replace(ask, perturbations=(*ask.perturbations, SkippedBlocks(self.blocks)))


def _whole(asks: Sequence[Ask]) -> int:
    """Which question is the positive side's with all blocks and its own text; -1 for none."""
    others = AvoidedText, BlurredFrames
    plain = (ask.side == "positive" and all(isinstance(each, others) for each in ask.perturbations) for ask in asks)
    return next((index for index, is_plain in enumerate(plain) if is_plain), -1)


def check_blocks(blocks: frozenset[int], layers: int) -> None:
    """Refuses blocks that a model does not have, or that leave none.

    Raises:
        InvalidInputError: the message has the numbers.
    """
    beyond = sorted(number for number in blocks if number >= layers)
    if beyond or len(blocks) >= layers:
        found = f"block {beyond[0]}" if beyond else "all blocks"
        raise InvalidInputError(
            f"Skip-layer guidance is to leave out {found}, but the model has blocks 0 to {layers - 1}, of which some "
            "must stay. Usual are 9 or 9,10."
        )
