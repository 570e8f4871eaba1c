"""The model as the denoiser and what stands in for it see it: the three parts of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ..dit.inputs import DitInputs
from ..dit.model import Embedded


class Transformer(Protocol):
    """The three parts of a pass of the model, see `dit.model.WanDiT`, computed in whatever way it is set up for."""

    def embed(self, inputs: DitInputs) -> Embedded:
        """The inputs as the blocks see them."""
        ...

    def trunk(self, passes: Sequence[Embedded]) -> list[Tensor]:
        """All blocks, each run for all passes before the next; may overwrite `Embedded.tokens`."""
        ...

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        """The velocity."""
        ...
