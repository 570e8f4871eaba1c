"""MagCache: what the blocks add changes its size from step to step in a way that is a property of the model."""

from __future__ import annotations

from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ...dit.inputs import DitInputs
from ..step import NoiseLevel
from .cache import Kept, Question
from .estimate import number

_RATIO = "ratio"


@record
class MagnitudeRatios:
    """The change is how far the product of the ratios since the last computed step is from 1.

    Attributes:
        ratios: for each step of a run, how large what the blocks add is beside that of the step before; 1 for the
            first. A run of another number of steps takes the nearest.

    Raises:
        InvalidInputError: there are none, or one is not a positive number.

    Source: Ma et al., "MagCache: Fast video generation with magnitude-aware cache", arXiv 2506.09045;
    Zehong-Ma/MagCache MagCache4Wan2.1/magcache_generate.py @ df81cb1.
    """

    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.ratios or not all(0.0 < ratio < float("inf") for ratio in self.ratios):
            raise InvalidInputError(
                f"A table of magnitude ratios has a positive number for each step, got {self.ratios[:5]}. Record it "
                "again."
            )

    def at(self, step: NoiseLevel) -> float:
        """The ratio of a step, by its place in the run."""
        if step.steps == 1:
            return self.ratios[-1]
        return self.ratios[round(step.index * (len(self.ratios) - 1) / (step.steps - 1))]

    def start(self, noted: Kept, step: NoiseLevel, question: Question) -> tuple[float | None, Kept]:
        """See `Estimate.start`."""
        ratio = float(noted.get(_RATIO, 1.0)) * self.at(step)
        return abs(1.0 - ratio), {_RATIO: number(ratio)}

    def computed(self, noted: Kept, inputs: DitInputs, velocity: Tensor) -> Kept:
        """See `Estimate.computed`."""
        return {}

    def kept_bytes(self, latent_bytes: int) -> int:
        """A number."""
        return 0
