"""How much noise the clips of a step get: drawn from a distribution, within the range of an expert."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..common.checking import choice_of
from ..common.errors import InvalidInputError
from ..common.records import record

NoiseKind = Literal["logit_normal", "uniform"]
NOISE_KINDS: tuple[NoiseKind, ...] = ("logit_normal", "uniform")
WeightKind = Literal["none", "bell", "cosmap"]
WEIGHT_KINDS: tuple[WeightKind, ...] = ("none", "bell", "cosmap")


@record
class NoiseLevels:
    """The distribution of sigma, 0 without noise to 1 nothing else.

    Attributes:
        kind: before it is shifted: all alike, or the middle more often than the ends (sigmoid of a normal number).
        shift: towards noise, as that of the sampler: s -> shift s / (1 + (shift - 1) s).
        lowest, highest: the range; inside of it the distribution keeps its form.
        weighting: of the loss by sigma: none; "bell", most in the middle, as DiffSynth-Studio's; "cosmap", of SD3.

    Source: Esser et al., "Scaling Rectified Flow Transformers", arXiv 2403.03206, section 3.1.

    Raises:
        InvalidInputError: a choice that there is not, or a range that is none.
    """

    kind: NoiseKind = "logit_normal"
    shift: float = 3.0
    lowest: float = 0.0
    highest: float = 1.0
    weighting: WeightKind = "none"

    def __post_init__(self) -> None:
        choice_of(self.kind, NOISE_KINDS, "distribution of the noise")
        choice_of(self.weighting, WEIGHT_KINDS, "weighting of the loss")
        if not self.shift > 0:
            raise InvalidInputError(f"The shift of the noise is above 0, got {self.shift:g}. Use 1 for none, or 3.")
        if not 0 <= self.lowest < self.highest <= 1:
            raise InvalidInputError(
                f"The noise lies between 0 and 1, the lowest below the highest, got {self.lowest:g} and "
                f"{self.highest:g}. Use 0 and 1 for all of it."
            )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` sigmas, [count], float32, CPU."""
        low, high = (self._share_below(torch.tensor(sigma, dtype=torch.float64)) for sigma in self._range)
        share = low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)
        plain = share if self.kind == "uniform" else torch.special.ndtri(share).sigmoid()
        return (self.shift * plain / (1 + (self.shift - 1) * plain)).clamp(self.lowest, self.highest).float()

    def weights(self, sigma: Tensor) -> Tensor:
        """How much the error at each sigma [B] counts, [B]; 1 on average where all are alike."""
        if self.weighting == "bell":
            return (-2 * (sigma - 0.5).square()).exp() / _MEAN_OF_BELL
        if self.weighting == "cosmap":
            return 2 / (torch.pi * (1 - 2 * sigma + 2 * sigma.square()))
        return torch.ones_like(sigma)

    @property
    def _range(self) -> tuple[float, float]:
        return self.lowest, self.highest

    def _share_below(self, sigma: Tensor) -> Tensor:
        """The part of all sigmas that lies below one."""
        plain = sigma / (self.shift - (self.shift - 1) * sigma)
        return plain if self.kind == "uniform" else torch.special.ndtr(torch.logit(plain))


_MEAN_OF_BELL = 0.8556243918921488  # of exp(-2 (s - 0.5)^2) over 0..1: sqrt(pi / 2) erf(1 / sqrt 2)
