"""The velocity of a latent: transformer, prompts, guidance, cache and windows put in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..dit.inputs import Conditioning, DitInputs, ignore_block
from .cache import NoCache
from .given import Given, NothingGiven
from .guidance import CFG
from .prompts import Prompts, as_prompts
from .step import NoiseLevel, Predict
from .windows import WholeClip

Forward = Callable[[DitInputs], Tensor]
ForwardTogether = Callable[[Sequence[DitInputs]], Sequence[Tensor]]


class _Side(NamedTuple):
    """One side of the guidance, with a forward pass of its own for each prompt."""

    prompts: Prompts
    forwards: tuple[Forward, ...]

    def asks(self, sigma: float) -> list[tuple[Conditioning, Forward]]:
        """What is asked at a noise level: the prompts that count there, and the pass for each."""
        numbers = self.prompts.active(sigma)
        return [(self.prompts.parts[number].conditioning, self.forwards[number]) for number in numbers]


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

    `together` runs the passes of all prompts at once, block by block, with the same result (see
    `WanDiT.forward_together`). It is for models whose weights are swapped in, and used where a step needs several
    passes and nothing is cached between steps. `around` wraps the predictor of a run, to ask it again after a failure.
    """

    model: Forward
    positive: Conditioning | Prompts
    negative: Conditioning | Prompts
    guidance: CFG = field(default_factory=CFG)
    cache: NoCache = field(default_factory=NoCache)
    windows: WholeClip = field(default_factory=WholeClip)
    on_block: Callable[[int], None] = ignore_block
    given: Given = field(default_factory=NothingGiven)
    together: ForwardTogether | None = None
    around: Callable[[Predict], Predict] = lambda predict: predict

    def start(self) -> Predict:
        """The predictor of one run; what caches remember is born here, apart for each prompt."""
        positive, negative = (self._side(as_prompts(side)) for side in (self.positive, self.negative))
        sides = (positive, negative) if self.guidance.needs_negative else (positive,)
        is_one_pass = sum(len(side.forwards) for side in sides) == 1
        in_turn = self.together is None or is_one_pass or not isinstance(self.cache, NoCache)

        def guided(level: NoiseLevel, latent: Tensor) -> Tensor:
            if in_turn:
                return self.guidance.velocity(
                    *(partial(self._velocity, side, latent, level) for side in (positive, negative))
                )
            velocities = self._velocities(sides, latent, level)
            return self.guidance.velocity(lambda: velocities[0], lambda: velocities[1])

        def predict(latent: Tensor, level: NoiseLevel) -> Tensor:
            shown = self.given.shown(latent, level.sigma)
            velocity = self.windows.velocity(partial(guided, level), shown)
            return self.given.velocity(velocity, latent, shown, level.sigma)

        return self.around(predict)

    def _side(self, prompts: Prompts) -> _Side:
        return _Side(prompts, tuple(self.cache.start(self.model) for _ in prompts.parts))

    def _velocity(self, side: _Side, latent: Tensor, level: NoiseLevel) -> Tensor:
        """The velocity of a side, its passes one after the other."""
        asks = side.asks(level.sigma)
        velocities = [forward(self._inputs(prompt, latent, level)).float() for prompt, forward in asks]
        return side.prompts.joined(velocities, level.sigma)

    def _velocities(self, sides: Sequence[_Side], latent: Tensor, level: NoiseLevel) -> list[Tensor]:
        """The velocity of each side, all passes together."""
        asks = [side.asks(level.sigma) for side in sides]
        together = self.together([self._inputs(prompt, latent, level) for asked in asks for prompt, _ in asked])
        answers = iter([velocity.float() for velocity in together])
        answered = [list(islice(answers, len(asked))) for asked in asks]
        return [side.prompts.joined(velocities, level.sigma) for side, velocities in zip(sides, answered)]

    def _inputs(self, conditioning: Conditioning, latent: Tensor, level: NoiseLevel) -> DitInputs:
        timestep = self.given.timesteps(torch.full((len(latent),), level.timestep, device=latent.device))
        return conditioning.inputs(latent, timestep, self.on_block)
