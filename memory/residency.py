"""Where the blocks of a transformer are while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from torch import nn


class Residency(Protocol):
    """A way to hand out the blocks of a model, each ready to run when its turn comes."""

    def stream(self, blocks: Iterable[nn.Module]) -> Iterator[nn.Module]:
        """The blocks in order; each may be moved away again once the next one is asked for."""
        ...


class Resident:
    """All blocks stay where they are."""

    def stream(self, blocks: Iterable[nn.Module]) -> Iterator[nn.Module]:
        """The blocks in order."""
        return iter(blocks)
