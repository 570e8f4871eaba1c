"""What the denoiser asks of a cache: something that may stand in for the transformer's blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from ...dit.model import Embedded
from ..ask import Ask
from ..step import NoiseLevel

RunTrunk = Callable[[Sequence[Embedded]], list[Tensor]]
"""Runs all blocks for some questions: the tokens [B, L, D] of each. `Embedded.tokens` are overwritten."""

Kept = Mapping[str, Tensor]
"""What a cache remembers between steps, by names of its own: values that can be saved. Never written to."""

NOTHING_KEPT: Kept = MappingProxyType({})


class CacheRun(Protocol):
    """A cache while the model is asked."""

    def trunks(
        self, asks: Sequence[Ask], embedded: Sequence[Embedded], level: NoiseLevel, run: RunTrunk
    ) -> list[Tensor]:
        """The tokens [B, L, D] of each question after the blocks, run or remembered.

        Args:
            asks: the questions, or some of them: where they do not go together, each comes by itself.
            embedded: of each question.
            run: see `RunTrunk`; for as many of them as need it.
        """
        ...

    def kept(self) -> Kept:
        """What is to be remembered for the next step."""
        ...


class Cache(Protocol):
    """A choice of what may stand in for the blocks."""

    def start(self, kept: Kept = NOTHING_KEPT) -> CacheRun:
        """For one prediction, with what the one before it left; nothing at the beginning."""
        ...

    def kept_bytes(self, asks: int, buffer_bytes: int) -> int:
        """The most that is remembered between steps, of so many questions whose tokens take `buffer_bytes` each."""
        ...
