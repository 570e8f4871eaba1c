"""The cache that caches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...dit.model import Embedded
from ..ask import Ask
from ..step import NoiseLevel
from .cache import NOTHING_KEPT, Kept, RunTrunk


@dataclass(frozen=True, slots=True)
class NoCache:
    """Every question runs all blocks."""

    def start(self, kept: Kept = NOTHING_KEPT) -> NoCache:
        """Itself: there is nothing to remember."""
        return self

    def trunks(
        self, asks: Sequence[Ask], embedded: Sequence[Embedded], level: NoiseLevel, run: RunTrunk
    ) -> list[Tensor]:
        """The blocks' own tokens."""
        return run(embedded)

    def kept(self) -> Kept:
        """Nothing."""
        return NOTHING_KEPT

    def kept_bytes(self, asks: int, buffer_bytes: int) -> int:
        """Nothing."""
        return 0


NO_CACHE = NoCache()
