"""The estimate of easycache: the answer changes with the latent at the rate that it did when last computed."""

from __future__ import annotations

from torch import Tensor

from ...common.records import record
from ...dit.inputs import DitInputs
from ..step import NoiseLevel
from .cache import Kept, Question
from .estimate import number

_LATENT, _VELOCITY, _SIZE, _RATE = "latent", "velocity", "size", "rate"


@record
class TransformationRate:
    """The change is k * mean|x - x'| / mean|v'|, with k = mean|v' - v''| / mean|x' - x''|.

    x is the latent that the model sees, v its velocity; ' is the last computed step, '' the computed one before it.

    Attributes:
        stride: means are over every so many rows and columns of the latent.

    Source: Zhou et al., "Less is enough: training-free video diffusion acceleration via runtime-adaptive caching",
    arXiv 2507.02860, equations 5 to 8; comfyanonymous/ComfyUI comfy_extras/nodes_easycache.py (v0.33.0), which takes a
    stride of 8.
    """

    stride: int = 1

    def start(self, noted: Kept, step: NoiseLevel, question: Question) -> tuple[float | None, Kept]:
        """See `Estimate.start`."""
        if _RATE not in noted or not float(noted[_SIZE]):  # an answer of zeros says nothing of its change
            return None, noted
        moved = _distance(self._sample(question.inputs.latent), noted[_LATENT])
        return float(noted[_RATE]) * moved / float(noted[_SIZE]), noted

    def computed(self, noted: Kept, inputs: DitInputs, velocity: Tensor) -> Kept:
        """See `Estimate.computed`."""
        latent, answer = self._sample(inputs.latent).clone(), self._sample(velocity).clone()
        left = {_LATENT: latent, _VELOCITY: answer, _SIZE: number(velocity.abs().mean())}
        if _LATENT not in noted:
            return left
        moved = _distance(latent, noted[_LATENT])
        if moved == 0.0:
            return left
        return left | {_RATE: number(_distance(answer, noted[_VELOCITY]) / moved)}

    def kept_bytes(self, latent_bytes: int) -> int:
        """Two latents of this computed step, and two of the one before it."""
        return 4 * latent_bytes

    def _sample(self, values: Tensor) -> Tensor:
        return values[..., :: self.stride, :: self.stride]


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())
