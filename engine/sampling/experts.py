"""The models of one sampling run, each brought to the device when its steps come and taken away after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from ...common.records import record
from ...dit.conditioning.amplified import amplified
from ...dit.conditioning.cut import Cut
from ...dit.presets import expert_boundary
from ...dit.rope import TokenPlaces
from ...sampling.cache import NOTHING_KEPT, Kept
from ...sampling.causal.memories import Memories
from ...sampling.denoiser import Denoiser, Denoising, Prediction
from ...sampling.experts import Expert, Handover
from ...sampling.guidance import Guidance
from ...sampling.schedule import NoiseSchedule
from ...sampling.step import NoiseLevel
from ..models import VideoModel
from .asked import Sides
from .stage import Stage

Made = TypeVar("Made")


class GuidedModel(NamedTuple):
    """A model of a run, and how it is asked."""

    model: VideoModel
    guidance: Guidance


@record(eq=False)
class Beside:
    """Prompts that a run asks with beside its own, and how each expert is guided with them.

    `name`: for the cache. `places`: where their tokens lie, if not where the model's policies say.
    """

    name: str
    sides: Sides
    guidance: Mapping[Expert, Guidance]
    places: TokenPlaces | None = None


class AtWork(NamedTuple):
    """A model on its device, and what asks it; `beside`: of a run that asks with other prompts, too, with those."""

    stage: Stage
    denoiser: Denoiser
    beside: tuple[Denoising, ...] = ()


def denoiser_of(
    model: VideoModel, stage: Stage, sides: Sides, guidance: Guidance, name: str, places: TokenPlaces | None = None
) -> Denoiser:
    """What asks a model on its device with some prompts; `places`: see `Beside`."""
    policies = model.policies
    shown = partial(amplified, factor=policies.amplify, family=model.spec.family)
    positive, negative = (sides[side].changed(shown).to(model.residence.device) for side in ("positive", "negative"))
    return Denoiser(
        stage,
        positive,
        negative,
        guidance=guidance,
        cache=policies.cache,
        windows=policies.windows,
        places=policies.places if places is None else places,
        steering=policies.steering,
        grouped=stage.grouped,
        carefully=stage.carefully,
        name=name,
    )


class Turns:
    """Asks the expert whose step it is; for the sampling loop the same as a single model.

    Args:
        expert_at: who makes the step that begins at a noise level.
        open_turn: brings an expert to the device, from the step of this number on, to compute so much more exactly.
        mended: by how much each is to, see `Stage.mended`.
    """

    def __init__(
        self,
        expert_at: Callable[[NoiseLevel], Expert],
        open_turn: Callable[[Expert, int, int], AbstractContextManager[AtWork]],
        mended: Mapping[Expert, int] = MappingProxyType({}),
    ) -> None:
        self._expert_at = expert_at
        self._open_turn = open_turn
        self._stack = ExitStack()
        self._expert: Expert | None = None
        self._at_work: AtWork | None = None
        self._mended = dict(mended)

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def begin_step(self, level: NoiseLevel) -> None:
        """Brings the expert that makes the step from this noise level on, and makes it ready for the step."""
        expert = self._expert_at(level)
        if expert == self._expert:
            self._working.stage.begin_step(level.index)
            return
        self._mended = self.mended
        self._stack.close()
        turn = self._open_turn(expert, level.index, self._mended.get(expert, 0))
        self._at_work = self._stack.enter_context(turn)
        self._expert = expert

    @property
    def mended(self) -> dict[Expert, int]:
        """How many times each expert's way to compute was made more exact so far."""
        if self._expert is None:
            return self._mended
        before = self._mended.get(self._expert, 0)
        return {**self._mended, self._expert: before + self._working.stage.mended}

    def spared(self, make: Callable[[], Made]) -> Made | None:
        """See `Stage.spared`; None, too, in a run of no steps."""
        return None if self._at_work is None else self._at_work.stage.spared(make)

    def start(self, kept: Kept = NOTHING_KEPT) -> Prediction:
        """The predictor of a step: whoever makes it answers all questions of its solver."""
        return self._working.denoiser.start(kept)

    def start_beside(self, kept: Kept = NOTHING_KEPT) -> Prediction:
        """As `start`, with the first prompts that the run asks with beside its own."""
        return self._working.beside[0].start(kept)

    def seeing(self, cut: Cut, memories: Memories) -> Denoiser:
        """What asks about a chunk of a causal model's video, whose frames before are remembered."""
        return self._working.denoiser.seeing(cut, memories)

    @property
    def beside(self) -> Denoising:
        """What `start_beside` asks, for a sampling loop."""
        return _Beside(self)

    @property
    def _working(self) -> AtWork:
        assert self._at_work is not None, "a step has begun"
        return self._at_work


@record
class _Beside:
    """Takes the turns, too, and asks with the prompts beside the run's own."""

    turns: Turns

    def start(self, kept: Kept = NOTHING_KEPT) -> Prediction:
        """See `Turns.start_beside`."""
        return self.turns.start_beside(kept)


def experts_of(
    model: VideoModel, cfg: float, schedule: NoiseSchedule
) -> tuple[dict[Expert, GuidedModel], Callable[[NoiseLevel], Expert]]:
    """The models of a run with their guidance, and whose step a noise level is."""
    experts: dict[Expert, GuidedModel] = {"high": GuidedModel(model, model.policies.guidance(cfg))}
    low = model.low_noise
    if low is None:
        return experts, lambda _level: "high"
    handover = Handover(expert_boundary(model.spec.config), low.high_steps)
    handover.check(schedule)
    experts["low"] = GuidedModel(low.model, low.model.policies.guidance(cfg if low.cfg is None else low.cfg))
    return experts, handover.expert


def makers_of(steps: Sequence[NoiseLevel], expert_at: Callable[[NoiseLevel], Expert]) -> list[Expert]:
    """Who makes each of the steps that begin at these noise levels."""
    return [expert_at(level) for level in steps]
