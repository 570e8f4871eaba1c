"""The velocity of a latent: transformer, prompts, guidance, cache and windows put in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..dit.inputs import Conditioning, DitInputs, ignore_block
from .cache import NoCache
from .given import Given, NothingGiven
from .guidance import CFG
from .step import NoiseLevel, Predict
from .windows import WholeClip

Forward = Callable[[DitInputs], Tensor]
ForwardTogether = Callable[[Sequence[DitInputs]], Sequence[Tensor]]


class Denoising(Protocol):
    """What the sampling loop asks of a `Denoiser`, or of several that take turns."""

    given: Given

    def start(self) -> Predict:
        """The predictor of one run."""


@dataclass(frozen=True, slots=True)
class Denoiser:
    """Everything that turns (latent, noise level) into a velocity.

    The order is Windows(Guidance(Cache(model))), fixed here and nowhere else. `on_block` is called with the number of
    each transformer block that has run; what it raises ends the run (interrupt). What is `given` is put into the
    latent before the model sees it.

    `together` runs the passes of both prompts at once, block by block, with the same result (see
    `WanDiT.forward_together`). It is for models whose weights are swapped in, and used where the guidance needs both
    passes and nothing is cached between steps. `around` wraps the predictor of a run, to ask it again after a failure.
    """

    model: Forward
    positive: Conditioning
    negative: Conditioning
    guidance: CFG = field(default_factory=CFG)
    cache: NoCache = field(default_factory=NoCache)
    windows: WholeClip = field(default_factory=WholeClip)
    on_block: Callable[[int], None] = ignore_block
    given: Given = field(default_factory=NothingGiven)
    together: ForwardTogether | None = None
    around: Callable[[Predict], Predict] = lambda predict: predict

    def start(self) -> Predict:
        """The predictor of one run; what caches remember is born here, apart for each prompt."""
        positive = partial(self._pass, self.cache.start(self.model), self.positive)
        negative = partial(self._pass, self.cache.start(self.model), self.negative)
        in_turn = self.together is None or not self.guidance.needs_negative or not isinstance(self.cache, NoCache)

        def guided(level: NoiseLevel, latent: Tensor) -> Tensor:
            if in_turn:
                return self.guidance.velocity(partial(positive, latent, level), partial(negative, latent, level))
            sides = [self._inputs(side, latent, level) for side in (self.positive, self.negative)]
            velocities = [velocity.float() for velocity in self.together(sides)]
            return self.guidance.velocity(lambda: velocities[0], lambda: velocities[1])

        def predict(latent: Tensor, level: NoiseLevel) -> Tensor:
            shown = self.given.shown(latent, level.sigma)
            velocity = self.windows.velocity(partial(guided, level), shown)
            return self.given.velocity(velocity, latent, shown, level.sigma)

        return self.around(predict)

    def _pass(self, forward: Forward, conditioning: Conditioning, latent: Tensor, level: NoiseLevel) -> Tensor:
        return forward(self._inputs(conditioning, latent, level)).float()

    def _inputs(self, conditioning: Conditioning, latent: Tensor, level: NoiseLevel) -> DitInputs:
        timestep = self.given.timesteps(torch.full((len(latent),), level.timestep, device=latent.device))
        return conditioning.inputs(latent, timestep, self.on_block)
