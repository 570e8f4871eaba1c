"""CFG-Zero*: the negative velocity scaled to what it shares with the positive one, and no motion in the first steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ..ask import Ask
from ..step import NoiseLevel
from .cfg import CFG
from .guidance import Memory


@record
class CfgZeroStar:
    """velocity = s * negative + scale * (positive - s * negative), s = <positive, negative> / |negative|^2 per video.

    Attributes:
        scale: the guidance scale; at 1 the negative prompt is not asked.
        zero_steps: of the run's first steps, this many leave the latent as it is and ask nothing.
        of_denoised: whether not the velocity but the guess of the clean latent is scaled by s, as ComfyUI's node does.

    Raises:
        InvalidInputError: `scale` is not in 0..100, or `zero_steps` negative.

    Source: Fan et al., "CFG-Zero*", arXiv 2503.18886, equations 9 to 12; for `of_denoised` ComfyUI v0.33.0,
    comfy_extras/nodes_cfg.py.
    """

    scale: float = 1.0
    zero_steps: int = 0
    of_denoised: bool = False

    def __post_init__(self) -> None:
        CFG(self.scale)
        if self.zero_steps < 0:
            raise InvalidInputError(
                f"The number of zero steps must be 0 or more, got {self.zero_steps}. Usual are 0 or 1."
            )

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """See `Guidance.asks`."""
        return () if level.index < self.zero_steps else CFG(self.scale).asks(level)

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """See `Guidance.velocity`."""
        if not answers:
            return latent.new_zeros(latent.shape, dtype=latent.float().dtype)
        if len(answers) == 1:
            return answers[0]
        positive, negative = answers
        shared = _shared(positive, negative)
        guided = shared * negative + self.scale * (positive - shared * negative)
        if self.of_denoised and level.sigma > 0.0:
            guided = guided + (1.0 - self.scale) * (1.0 - shared) / level.sigma * latent
        return guided


def _shared(positive: Tensor, negative: Tensor) -> Tensor:
    """s [B, 1, 1, 1, 1] of [B, C, T, h, w]."""
    positive, negative = positive.flatten(1), negative.flatten(1)
    shared = (positive * negative).sum(1) / (negative.square().sum(1) + 1e-8)
    return shared[:, None, None, None, None]
