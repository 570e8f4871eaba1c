"""TeaCache: the answer changes as a polynomial of how much the embedded timestep does."""

from __future__ import annotations

from functools import reduce

from torch import Tensor

from ...common.records import record
from ...dit.inputs import DitInputs
from ..step import NoiseLevel
from .cache import Kept, Question

_TIME = "time"


@record
class TimeEmbedding:
    """The change is a polynomial of mean|e - e'| / mean|e'|; e is the blocks' modulation, e' that of the step before.

    Attributes:
        coefficients: of the polynomial, that of the highest power first; of a model and its embedding.

    Source: Liu et al., "Timestep embedding tells: it's time to cache for video diffusion model", arXiv 2411.19108,
    equations 5 to 7; modelscope/DiffSynth-Studio diffsynth/pipelines/wan_video.py, TeaCache (2.1.12).
    """

    coefficients: tuple[float, ...]

    def start(self, noted: Kept, step: NoiseLevel, question: Question) -> tuple[float | None, Kept]:
        """See `Estimate.start`."""
        now = question.embedded.context.modulation
        before = noted.get(_TIME)
        if before is None:
            return None, {_TIME: now}
        relative = float((now - before).abs().mean() / before.abs().mean())
        return reduce(lambda value, factor: value * relative + factor, self.coefficients, 0.0), {_TIME: now}

    def computed(self, noted: Kept, inputs: DitInputs, velocity: Tensor) -> Kept:
        """See `Estimate.computed`."""
        return noted

    def kept_bytes(self, latent_bytes: int) -> int:
        """Less than a latent: a modulation for each latent frame at most."""
        return latent_bytes
