"""What people are told of a run before it begins: settings that do not go together, and what has no effect in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ....sampling.ask import Ask
from ....sampling.experts import Expert
from ....sampling.step import NoiseLevel
from ..asked import Sides
from ..experts import GuidedModel
from ..settings import SamplerSettings
from .facts import tell_advice
from .idle import warn_of_idle
from .sides import warn_of_one_side


def warn_of_run(
    settings: SamplerSettings,
    sides: Sides,
    experts: Mapping[Expert, GuidedModel],
    makers: Sequence[Expert],
    steps: Sequence[NoiseLevel],
    asked: Sequence[Sequence[Ask]],
) -> None:
    """Tells of settings that do not go together, or not with the video, and of what has no effect.

    Args:
        sides: the prompts.
        makers: who makes each step.
        steps: where each begins.
        asked: the questions of each.
    """
    warn_of_idle(experts, makers, steps, asked, sides)
    warn_of_one_side(asked, sides)
    tell_advice(experts, settings, makers, steps)
