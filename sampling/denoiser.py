"""The velocity of a latent: transformer, prompts, guidance, cache and windows put in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import islice
from typing import ParamSpec, Protocol

import torch
from torch import Tensor

from ..common.records import record
from ..dit.conditioning.cut import Cut
from ..dit.inputs import Conditioning, DitInputs, Steering
from ..dit.rope import AS_TRAINED, TokenPlaces
from .ask import Ask, Side
from .cache import NOTHING_KEPT, Cache, Evaluation, Kept, NoCache, Question, Tally, tally_of, with_tally
from .causal.memories import NOTHING_BEFORE, Memories, NoMemories
from .guidance import CFG, Guidance
from .prompts import Prompts, as_prompts
from .step import NoiseLevel
from .transformer import Transformer
from .windows import ClipShape, WholeClip, Windows

Asked = ParamSpec("Asked")
Grouping = Callable[[Sequence[Ask]], Iterable[Sequence[Ask]]]
"""Which questions of a step go together, block by block, so that weights that are swapped in come once for them."""


def call(predict: Callable[Asked, Tensor], *asked: Asked.args, **named: Asked.kwargs) -> Tensor:
    """What `predict` gives, asked once."""
    return predict(*asked, **named)


def in_turn(asks: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
    """Each question by itself, which takes the least memory."""
    return ((ask,) for ask in asks)


class Prediction(Protocol):
    """Answers the questions of one step of a solver."""

    @property
    def kept(self) -> Kept:
        """What the cache remembers after the last answer."""
        ...

    def __call__(self, latent: Tensor, level: NoiseLevel, timesteps: Tensor | None = None) -> Tensor:
        """The velocity at a noise level.

        Args:
            latent: [B, C, T, h, w], as the model is to see it.
            timesteps: [B], or [B, T] with one for each latent frame; None for that of the level.
        """
        ...


class Denoising(Protocol):
    """What the sampling loop asks of a `Denoiser`, or of several that take turns."""

    def start(self, kept: Kept = NOTHING_KEPT) -> Prediction:
        """The predictor of one step, with what the step before it left in the cache."""
        ...


@record
class Denoiser:
    """Everything that turns (latent, noise level) into a velocity.

    The order is Windows(Guidance(Prompts(Cache(model)))), fixed here and nowhere else.

    `places` is where all passes see their tokens, and `steering` what steers branches in all of them beside what the
    prompts bring. `memories` is what a causal model knows of the video so far. `grouped` says which questions go
    together, with the same result. `carefully` calls what predicts, to call it again after a failure. `name` tells
    what this denoiser's cache remembers from that of another one in the same run.
    """

    model: Transformer
    positive: Conditioning | Prompts
    negative: Conditioning | Prompts
    guidance: Guidance = field(default_factory=CFG)
    cache: Cache = field(default_factory=NoCache)
    windows: Windows = field(default_factory=WholeClip)
    places: TokenPlaces = AS_TRAINED
    steering: tuple[Steering, ...] = ()
    memories: Memories | NoMemories = NOTHING_BEFORE
    grouped: Grouping = in_turn
    carefully: Callable[..., Tensor] = call
    name: str = ""

    def start(self, kept: Kept = NOTHING_KEPT) -> Prediction:
        """See `Denoising.start`."""
        return _Prediction(self, kept)

    def seeing(self, cut: Cut, memories: Memories) -> Denoiser:
        """What asks about some of the frames, those before which are remembered."""
        positive, negative = (as_prompts(side).chunk(cut) for side in (self.positive, self.negative))
        return replace(self, positive=positive, negative=negative, memories=memories)

    def look_at(self, latent: Tensor, sigma: float, levels: Sequence[NoiseLevel]) -> None:
        """A causal model goes over finished frames [B, C, T, h, w], once for each question of the steps at `levels`.

        Args:
            sigma: the noise level that the model is told.
        """
        timesteps = torch.full((len(latent),), 1000.0 * sigma, dtype=torch.float32, device=latent.device)
        self.carefully(self._look_at, latent, timesteps, levels)

    def _look_at(self, latent: Tensor, timesteps: Tensor, levels: Sequence[NoiseLevel]) -> Tensor:
        sides: dict[Side, Prompts] = {"positive": as_prompts(self.positive), "negative": as_prompts(self.negative)}
        asks: dict[Ask, float] = {}  # with the noise level at which each comes up first
        for level in levels:
            for ask in self.guidance.asks(level):
                asks |= {part: level.sigma for part in sides[ask.side].asks(ask, level.sigma) if part not in asks}
        for group in self.grouped(list(asks)):
            passes = []
            for ask in group:
                plain = sides[ask.side].inputs(ask.part, latent, timesteps)
                inputs = ask.inputs(plain, lambda side, sigma=asks[ask]: sides[side].text(sigma))
                passes.append(self.model.embed(self.placed(ask, inputs)))
            self.model.trunk(passes)
        return latent

    def placed(self, ask: Ask, inputs: DitInputs) -> DitInputs:
        """The inputs of a pass with what all passes have, and with what is remembered where the question is put."""
        steering = (*inputs.steering, *self.steering)
        return replace(inputs, places=self.places, steering=steering, past=self.memories.of(ask))


class _Prediction:
    """See `Prediction`. What the cache remembers is replaced once an answer is whole, so that it can be asked again."""

    def __init__(self, denoiser: Denoiser, kept: Kept) -> None:
        self._denoiser = denoiser
        self._sides: dict[Side, Prompts] = {
            "positive": as_prompts(denoiser.positive),
            "negative": as_prompts(denoiser.negative),
        }
        self.kept = kept
        self._step: NoiseLevel | None = None

    def __call__(self, latent: Tensor, level: NoiseLevel, timesteps: Tensor | None = None) -> Tensor:
        if timesteps is None:
            timesteps = torch.full((len(latent),), level.timestep, dtype=torch.float32, device=latent.device)

        evaluation = Evaluation(self._step or level, is_first=self._step is None)
        velocity = self._denoiser.carefully(self._predict, latent, level, timesteps, evaluation)
        self._step = evaluation.step
        return velocity

    def _predict(self, latent: Tensor, level: NoiseLevel, timesteps: Tensor, evaluation: Evaluation) -> Tensor:
        windows, sides, tally = self._denoiser.windows, self._sides, tally_of(self.kept)
        references = max((part.conditioning.references for side in sides.values() for part in side.parts), default=0)
        _, _, frames, height, width = latent.shape
        clip = ClipShape(frames, height, width, references)
        cuts = windows.cuts(clip, level)
        if len(cuts) == 1:
            velocity, left, counted = self._window(cuts[0], sides, latent, level, timesteps, evaluation)
            self.kept = with_tally(left, tally.plus(counted))
            return velocity
        kept: dict[str, Tensor] = {}
        total = torch.zeros(latent.shape, dtype=torch.float32, device=latent.device)
        weight = total.new_zeros(clip.frames, clip.height, clip.width)
        for cut in cuts:
            times = timesteps if timesteps.ndim == 1 else cut.of_times(timesteps, dim=1)
            shown: dict[Side, Prompts] = {side: prompts.window(cut) for side, prompts in sides.items()}
            velocity, left, counted = self._window(cut, shown, cut.of(latent), level, times, evaluation)
            tally = tally.plus(counted)
            counts = windows.weights(cut, clip).to(weight)
            cut.add(total, velocity * counts)
            cut.add(weight, counts.expand(velocity.shape[2:]))
            kept.update(left)
        self.kept = with_tally(kept, tally)
        return total / weight

    def _window(
        self,
        cut: Cut,
        sides: Mapping[Side, Prompts],
        latent: Tensor,
        level: NoiseLevel,
        timesteps: Tensor,
        evaluation: Evaluation,
    ) -> tuple[Tensor, dict[str, Tensor], Tally]:
        """The guided velocity of what the model sees at once; what the cache remembers of it, and counts."""
        denoiser = self._denoiser
        prefix = f"{denoiser.name}/{cut.name}/"
        own = {name.removeprefix(prefix): value for name, value in self.kept.items() if name.startswith(prefix)}
        cache = denoiser.cache.start(evaluation, own)
        remembered = f"guidance/{prefix}"
        memory = {
            name.removeprefix(remembered): value for name, value in self.kept.items() if name.startswith(remembered)
        }
        sigmas: dict[Side, float] = {
            side: prompts.counting(level.sigma, evaluation.step.sigma) for side, prompts in sides.items()
        }
        asks = [sides[ask.side].asks(ask, sigmas[ask.side]) for ask in denoiser.guidance.asks(level)]
        answers: list[Tensor] = []
        for group in denoiser.grouped([ask for of_parts in asks for ask in of_parts]):
            plain = ((ask, sides[ask.side].inputs(ask.part, latent, timesteps)) for ask in group)
            inputs = (ask.inputs(each, lambda side: sides[side].text(evaluation.step.sigma)) for ask, each in plain)
            questions = [
                Question(ask, each, denoiser.model.embed(denoiser.placed(ask, each)))
                for ask, each in zip(group, inputs)
            ]
            answers += cache.velocities(questions, denoiser.model)
        ordered = iter(answers)
        velocities: list[Tensor] = []
        for of_parts in asks:
            side = of_parts[0].side
            velocities.append(sides[side].joined(list(islice(ordered, len(of_parts))), sigmas[side]))
        velocity = denoiser.guidance.velocity(velocities, level, latent, memory)
        left = {prefix + name: value for name, value in cache.kept().items()}
        left |= {remembered + name: value for name, value in memory.items()}
        return velocity, left, cache.tally
