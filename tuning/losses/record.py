"""The losses of a training from its first step on, also of steps that were made before it was broken off."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan

import torch
from torch import Tensor

from ..loop import TrainedStep

_NAME = "losses"


class Losses:
    """The loss of each step, and that of its prior; grows by one with every step.

    Attributes:
        own: of the clips; NaN where it is not known any more.
        prior: of those of the prior; NaN without one.
    """

    def __init__(self) -> None:
        self.own: list[float] = []
        self.prior: list[float] = []

    def __len__(self) -> int:
        return len(self.own)

    def add(self, made: TrainedStep) -> None:
        """What came of the next step."""
        self.own.append(made.loss)
        self.prior.append(nan if made.prior_loss is None else made.prior_loss)

    def tensors(self) -> dict[str, Tensor]:
        """To be kept: [2, steps], float64."""
        return {_NAME: torch.tensor([self.own, self.prior], dtype=torch.float64).reshape(2, -1)}

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Goes back to what was kept of so many steps."""
        found = tensors.get(_NAME, torch.full((2, steps), nan, dtype=torch.float64))
        self.own, self.prior = found[0].tolist(), found[1].tolist()
