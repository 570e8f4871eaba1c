"""The cache that caches nothing."""

from __future__ import annotations

from torch import Tensor

from ...common.records import record
from ..transformer import Transformer
from .cache import NOTHING_KEPT, Evaluation, Kept, Question, Tally, computed


@record
class NoCache:
    """Every question runs all blocks."""

    @property
    def fewest_steps(self) -> int:
        """Any number."""
        return 0

    @property
    def tally(self) -> Tally:
        """Nothing is counted."""
        return Tally()

    def start(self, evaluation: Evaluation, kept: Kept = NOTHING_KEPT) -> NoCache:
        """Itself: there is nothing to remember."""
        return self

    def velocities(self, questions: list[Question], model: Transformer) -> list[Tensor]:
        """The model's own."""
        return computed(questions, model)

    def kept(self) -> Kept:
        """Nothing."""
        return NOTHING_KEPT

    def kept_bytes(self, asks: int, tokens_bytes: int, latent_bytes: int) -> int:
        """Nothing."""
        return 0


NO_CACHE = NoCache()
