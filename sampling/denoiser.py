"""The velocity of a latent: transformer, prompts, guidance, cache and windows put in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ..dit.inputs import Conditioning, DitInputs, ignore_block
from .cache import NoCache
from .given import Given, NothingGiven
from .guidance import CFG
from .step import NoiseLevel, Predict
from .windows import WholeClip

Forward = Callable[[DitInputs], Tensor]


@dataclass(frozen=True, slots=True)
class Denoiser:
    """Everything that turns (latent, noise level) into a velocity.

    The order is Windows(Guidance(Cache(model))), fixed here and nowhere else. `on_block` is called with the number of
    each transformer block that has run; what it raises ends the run (interrupt). `given` latent frames are put into the
    latent before the model sees it.
    """

    model: Forward
    positive: Conditioning
    negative: Conditioning
    guidance: CFG = field(default_factory=CFG)
    cache: NoCache = field(default_factory=NoCache)
    windows: WholeClip = field(default_factory=WholeClip)
    on_block: Callable[[int], None] = ignore_block
    given: Given = field(default_factory=NothingGiven)

    def start(self) -> Predict:
        """The predictor of one run; what caches remember is born here, apart for each prompt."""
        positive = partial(self._pass, self.cache.start(self.model), self.positive)
        negative = partial(self._pass, self.cache.start(self.model), self.negative)

        def guided(level: NoiseLevel, latent: Tensor) -> Tensor:
            return self.guidance.velocity(partial(positive, latent, level), partial(negative, latent, level))

        def predict(latent: Tensor, level: NoiseLevel) -> Tensor:
            return self.windows.velocity(partial(guided, level), self.given.impose(latent))

        return predict

    def _pass(self, forward: Forward, conditioning: Conditioning, latent: Tensor, level: NoiseLevel) -> Tensor:
        timestep = self.given.timesteps(torch.full((len(latent),), level.timestep, device=latent.device))
        return forward(conditioning.inputs(latent, timestep, self.on_block)).float()
