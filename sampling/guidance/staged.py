"""Guidance in stages: what the model makes of nothing, of the source video, of all references, and of the words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ..ask import NEGATIVE, POSITIVE, Ask, LessContext
from ..step import NoiseLevel
from .cfg import CFG
from .guidance import Memory

NOTHING_SHOWN = Ask("negative", (LessContext(keeps_source=False),))
SOURCE_SHOWN = Ask("negative", (LessContext(keeps_source=True),))


@record
class StagedContext:
    """velocity = none + video * (source - none) + references * (all - source) + scale * (positive - all).

    `none`, `source` and `all` are answers to the negative prompt: without the clips beside the video, with its source
    alone, and with all of them. What does not count in the sum is not asked: with 1 for video and references this is
    plain guidance; without references the model is asked once less if their number is that of the video.

    Attributes:
        scale: the guidance scale of the words; at 1 the positive prompt is asked alone.
        video: that of the source video.
        references: that of the other clips.

    Raises:
        InvalidInputError: a number is not in 0..100.

    Source: bytedance/Bernini bernini/models/wan_diffusion.py (guidance modes rv2v, v2v_chain and v2v).
    """

    scale: float = 1.0
    video: float = 1.0
    references: float = 1.0

    def __post_init__(self) -> None:
        CFG(self.scale)
        usual = "Usual are 1.25 for a source video and 4.5 for references; 1 and 1 is plain guidance."
        for name, value in (("video", self.video), ("references", self.references)):
            _check_scale(name, value, usual)

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        return CFG(self.scale).asks(level) if self._is_plain else tuple(ask for ask, _ in self._counting())

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        if self._is_plain:
            return CFG(self.scale).velocity(answers, level, latent, memory)
        return _weighed(answers, [weight for _, weight in self._counting()])

    @property
    def _is_plain(self) -> bool:
        return self.scale == 1.0 or self.video == self.references == 1.0

    def _counting(self) -> tuple[tuple[Ask, float], ...]:
        """The questions that count, and how much."""
        weighed = (
            (POSITIVE, self.scale),
            (NEGATIVE, self.references - self.scale),
            (SOURCE_SHOWN, self.video - self.references),
            (NOTHING_SHOWN, 1.0 - self.video),
        )
        return tuple((ask, weight) for ask, weight in weighed if weight)


@record
class ShownSubjects:
    """velocity = blank + pictures * (shown - blank) + scale * (positive - shown).

    `blank` and `shown` are answers to the negative prompt: with blank pictures of subjects behind the video, and with
    those that are given. What does not count in the sum is not asked: with 1 for pictures this is plain guidance.

    Attributes:
        scale: the guidance scale of the words.
        pictures: that of the pictures.

    Raises:
        InvalidInputError: a number is not in 0..100.

    Source: Liu et al., "Phantom", arXiv 2502.11079; ComfyUI v0.33.0, comfy_extras/nodes_custom_sampler.py,
        Guider_DualCFG.
    """

    scale: float = 1.0
    pictures: float = 1.0

    def __post_init__(self) -> None:
        CFG(self.scale)
        _check_scale("pictures", self.pictures, "Usual is 5, with cfg 7.5; 1 is plain guidance.")

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        return CFG(self.scale).asks(level) if self.pictures == 1.0 else tuple(ask for ask, _ in self._counting())

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        if self.pictures == 1.0:
            return CFG(self.scale).velocity(answers, level, latent, memory)
        return _weighed(answers, [weight for _, weight in self._counting()])

    def _counting(self) -> tuple[tuple[Ask, float], ...]:
        """The questions that count, and how much."""
        weighed = (
            (POSITIVE, self.scale), (NEGATIVE, self.pictures - self.scale), (NOTHING_SHOWN, 1.0 - self.pictures),
        )  # fmt: skip
        return tuple((ask, weight) for ask, weight in weighed if weight)


def _weighed(answers: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = answers[0] * weights[0]
    for answer, weight in zip(answers[1:], weights[1:], strict=True):
        total = total + answer * weight
    return total


def _check_scale(name: str, value: float, usual: str) -> None:
    if not 0.0 <= value <= 100.0 or not math.isfinite(value):
        raise InvalidInputError(f"The guidance scale of the {name} must be from 0 to 100, got {value:g}. {usual}")
