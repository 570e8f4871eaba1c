"""Records the ratios that MagCache needs of a model, in a run that is computed in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

import torch
from torch import Tensor

from ...common.records import record
from ..transformer import Transformer
from .cache import NOTHING_KEPT, Evaluation, Kept, Question, Tally
from .reuse import BlocksChange

_CHANGE = "change"


@record
class RatioRecorder:
    """Spares nothing; tells at the end of a run how large what the blocks add was beside that of the step before.

    It is that of the first question: the mean over its tokens of |now| / |before|. The first step of a run, and that
    of a second expert, has nothing before it: 1.

    Attributes:
        told: is given the ratio of each step after the last one.

    Source: as `mag_cache.MagnitudeRatios`, and huggingface/diffusers src/diffusers/hooks/mag_cache.py (0.42.1).
    """

    told: Callable[[tuple[float, ...]], None]
    _ratios: dict[int, float] = field(default_factory=dict)

    @property
    def fewest_steps(self) -> int:
        """A table of fewer steps would be of no use."""
        return 0

    def start(self, evaluation: Evaluation, kept: Kept = NOTHING_KEPT) -> RatioRecording:
        """See `Cache.start`."""
        return RatioRecording(self, evaluation, kept)

    def note(self, evaluation: Evaluation, ratio: float) -> None:
        """The ratio of a step; noted again when it is made again."""
        step = evaluation.step
        if step.index == 0:
            self._ratios.clear()
        self._ratios[step.index] = ratio
        if step.is_last_step:
            self.told(tuple(self._ratios.get(index, 1.0) for index in range(step.steps)))

    def kept_bytes(self, asks: int, tokens_bytes: int, latent_bytes: int) -> int:
        """See `Cache.kept_bytes`: what the blocks add to the first question, now and before, and norms in float32."""
        return (asks + 5) * tokens_bytes


class RatioRecording:
    """See `CacheRun`."""

    def __init__(self, recorder: RatioRecorder, evaluation: Evaluation, kept: Kept) -> None:
        self._recorder, self._evaluation = recorder, evaluation
        self._before = kept.get(_CHANGE)
        self._now: Tensor | None = None
        self.tally = Tally()

    def velocities(self, questions: list[Question], model: Transformer) -> list[Tensor]:
        """See `CacheRun.velocities`."""
        answers = BlocksChange().compute(questions, model)
        if self._now is None:
            self._now = answers.kept[0]
            if self._evaluation.is_first:
                self._recorder.note(self._evaluation, _ratio(self._now, self._before))
        return answers.velocities

    def kept(self) -> Kept:
        """See `CacheRun.kept`."""
        kept = self._now if self._evaluation.is_first else self._before
        return NOTHING_KEPT if kept is None else {_CHANGE: kept}


def _ratio(now: Tensor, before: Tensor | None) -> float:
    if before is None:
        return 1.0
    sizes = (torch.linalg.vector_norm(each, dim=-1, dtype=torch.float32) for each in (now, before))
    size, size_before = sizes
    return float((size / (size_before + 1e-8)).mean())
