"""The cache that caches nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...dit.inputs import DitInputs

Forward = Callable[[DitInputs], Tensor]


@dataclass(frozen=True, slots=True)
class NoCache:
    """Every pass runs the whole model."""

    def start(self, model: Forward) -> Forward:
        """The forward pass of one prompt for one run: the model itself."""
        return model
