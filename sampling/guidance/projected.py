"""Guidance whose direction is changed: adaptive projected guidance, and tangential damping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ..ask import Ask
from ..step import NoiseLevel
from .cfg import CFG
from .guidance import Memory

_EARLIER = "differences"


@record
class AdaptiveProjected:
    """APG: of the difference of the prompts, what lies along the positive velocity counts `parallel` times.

    That part makes colours glaring at high scales, the rest brings the picture nearer to the prompt.

    Attributes:
        scale: the guidance scale; at 1 the negative prompt is not asked.
        parallel: how much the part along the positive velocity counts; 1 and no longest length are plain guidance.
        longest: the most that the difference of a video may measure (Euclidean length); 0 for any.
        momentum: how much of the differences of earlier answers is added, above -1 and below 1; negative ones lead
            away from where those led.

    Raises:
        InvalidInputError: `scale` is not in 0..100, `parallel` not finite, `longest` negative, or `momentum` out of its
            bounds.

    Source: Sadat et al., "Eliminating Oversaturation and Artifacts of High Guidance Scales", arXiv 2410.02416,
    algorithm 1.
    """

    scale: float = 1.0
    parallel: float = 0.0
    longest: float = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        CFG(self.scale)
        if not math.isfinite(self.parallel):
            raise InvalidInputError(
                f"How much of apg's parallel part counts must be a finite number, got {self.parallel:g}. Usual is 0."
            )
        if not self.longest >= 0.0:
            raise InvalidInputError(f"The longest difference must be 0 (any) or more, got {self.longest:g}.")
        if not -1.0 < self.momentum < 1.0:
            raise InvalidInputError(
                f"The momentum of apg must be above -1 and below 1, got {self.momentum:g}. Usual are -0.75 to 0."
            )

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        return CFG(self.scale).asks(level)

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        if len(answers) == 1:
            return answers[0]
        positive, negative = answers
        difference = positive - negative
        if self.momentum:
            earlier = memory.get(_EARLIER)
            difference = difference if earlier is None else difference + self.momentum * earlier
            memory[_EARLIER] = difference
        if self.longest > 0.0:
            length = difference.flatten(1).norm(dim=1)[:, None, None, None, None]
            difference = difference * (self.longest / length).clamp(max=1.0)
        along = _along(difference, positive)
        return negative + self.scale * ((difference - along) + self.parallel * along)


@record
class TangentialDamping:
    """Tangential damping: of the negative velocity only the part in the direction that both prompts have in common.

    Attributes:
        scale: the guidance scale; at 1 the negative prompt is not asked.

    Raises:
        InvalidInputError: `scale` is not in 0..100.

    Source: Kwon et al., "Tangential Damping Classifier-free Guidance", arXiv 2503.18137, algorithm 1: the first
    right singular vector of the two velocities.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        CFG(self.scale)

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        return CFG(self.scale).asks(level)

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        if len(answers) == 1:
            return answers[0]
        positive, negative = answers
        damped = _along(negative, _common_direction(positive, negative))
        return CFG(self.scale).velocity((positive, damped), level, latent, memory)


def _common_direction(first: Tensor, second: Tensor) -> Tensor:
    """The first right singular vector [B, C, T, h, w] of two of that shape, of any length.

    It is theirs summed with the weights of the larger eigenvector of their 2 x 2 products, so that no matrix of the
    size of a video is decomposed.
    """
    both = torch.stack((first.flatten(1), second.flatten(1)), dim=1).double()
    weights = torch.linalg.eigh(both @ both.transpose(1, 2)).eigenvectors[..., -1]  # [B, 2]
    return torch.einsum("bn,bnl->bl", weights, both).view_as(first)


def _along(of: Tensor, direction: Tensor) -> Tensor:
    """The part of [B, C, T, h, w] that lies along `direction`, of the same shape, in float32."""
    unit = torch.nn.functional.normalize(direction.flatten(1).double(), dim=1)
    share = (of.flatten(1).double() * unit).sum(1, keepdim=True)
    return (share * unit).view_as(of).float()
