"""What an edit and the search for its mask have in common: two clips, asked about by the same models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ...common.errors import InvalidInputError
from ...common.records import record
from ...sampling.cache import NO_CACHE
from ...sampling.editing import NegativeAlone
from ...sampling.experts import Expert
from ...sampling.guidance import Guidance
from ...sampling.prompts import OneSide, as_prompts
from ...sampling.schedule import NoiseSchedule
from ...sampling.step import NoiseLevel
from ..causal.checks import check_all_at_once
from ..models import VideoModel
from ..sampling.asked import Questions, Sides, check_prompts
from ..sampling.experts import Beside, GuidedModel, experts_of, makers_of
from ..sampling.sights import Steps, steps_of
from .settings import EditSettings


class EditTexts(NamedTuple):
    """What a clip is to show; what it shows now, None where no text says it; and what to avoid.

    `source_negative` is what to avoid in the clip as it is, None for the same: for pictures that only the edit has.
    """

    target: OneSide
    source: OneSide | None
    negative: OneSide
    source_negative: OneSide | None = None

    @property
    def sides(self) -> Sides:
        """With which the edit is asked about."""
        return {"positive": as_prompts(self.target), "negative": as_prompts(self.negative)}

    @property
    def source_sides(self) -> Sides:
        """With which the clip is asked about."""
        shown = self.target if self.source is None else self.source  # not asked where there is none
        avoided = self.negative if self.source_negative is None else self.source_negative
        return {"positive": as_prompts(shown), "negative": as_prompts(avoided)}


class EditSteps(NamedTuple):
    """Steps of an edit: who makes each; those of each model; the questions about the edit, and about the clip."""

    makers: list[Expert]
    made: dict[Expert, Steps]
    questions: tuple[Questions, Questions]


@record(eq=False)
class ReadyEdit:
    """The models of an edit, with how they are asked about both clips.

    Attributes:
        experts: with the guidance of the target.
        expert_at: who makes the step that begins at a noise level.
        sides: of the target.
        beside: of the source.
    """

    experts: dict[Expert, GuidedModel]
    expert_at: Callable[[NoiseLevel], Expert]
    sides: Sides
    beside: Beside

    def steps(self, levels: tuple[NoiseLevel, ...]) -> EditSteps:
        """The steps that begin at these levels, checked.

        Raises:
            InvalidInputError: a step is left without a prompt that it asks for.
        """
        makers = makers_of(levels, self.expert_at)

        def questions(sides: Sides, guidance: Mapping[Expert, Guidance]) -> Questions:
            asked = [guidance[maker].asks(level) for level, maker in zip(levels, makers)]
            check_prompts(sides, levels, asked)
            return Questions(sides, asked)

        of_target = questions(self.sides, {name: expert.guidance for name, expert in self.experts.items()})
        both = of_target, questions(self.beside.sides, self.beside.guidance)
        return EditSteps(makers, steps_of(self.experts, makers, levels, self.sides), both)


def ready_edit(model: VideoModel, texts: EditTexts, settings: EditSettings, schedule: NoiseSchedule) -> ReadyEdit:
    """The models of an edit and how they are asked.

    Raises:
        InvalidInputError: they remember steps, or the experts do not fit the schedule.
    """
    check_all_at_once(model, "An edit")
    experts, expert_at = experts_of(model, settings.cfg, schedule)
    if any(expert.model.policies.cache != NO_CACHE for expert in experts.values()):
        raise InvalidInputError(
            "A step cache is on, but an edit puts new noise into every step, and no step can stand in for another. "
            "Take the step cache away."
        )
    guidance: dict[Expert, Guidance] = {
        name: NegativeAlone() if texts.source is None else expert.model.policies.guidance(settings.source_cfg)
        for name, expert in experts.items()
    }
    return ReadyEdit(experts, expert_at, texts.sides, Beside("source", texts.source_sides, guidance))
