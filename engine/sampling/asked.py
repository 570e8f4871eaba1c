"""The prompts of a run, and what its steps ask of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...dit.config import DiTConfig
from ...dit.inputs import Conditioning
from ...model_loading.pairing import check_unsteered
from ...model_loading.spec import ModelSpec
from ...sampling.ask import Ask, Side
from ...sampling.prompts import Prompts
from ...sampling.step import NoiseLevel

Sides = dict[Side, Prompts]
"""The prompts of a run."""


class Questions(NamedTuple):
    """What the steps of a run ask: the prompts, and of each step the questions."""

    sides: Sides
    asked: Sequence[Sequence[Ask]]


def check_prompts(sides: Sides, steps: Sequence[NoiseLevel], asked: Sequence[Sequence[Ask]]) -> None:
    """Refuses prompts that leave a step without what it asks for.

    Args:
        steps: where the steps of the run begin.
        asked: the questions of each.

    Raises:
        InvalidInputError: they do.
    """
    for side, prompts in sides.items():
        prompts.check(side, [level for level, asks in zip(steps, asked) if any(ask.side == side for ask in asks)])
        for level, asks in zip(steps, asked):
            if any(side in ask.reads for ask in asks):
                prompts.text(level.sigma)


def check_steered(model: ModelSpec[DiTConfig], sides: Sides) -> None:
    """Refuses a run in which nothing steers a branch that makes no sense without.

    Raises:
        PairingError: it is so; the message says what to connect.
    """
    prompts = (part.conditioning for of_side in sides.values() for part in of_side.parts)
    check_unsteered(model, {kind for prompt in prompts for kind in prompt.steering()})


def most_asked(sides: Sides, steps: Iterable[Sequence[Ask]]) -> list[Conditioning]:
    """The prompts of the step with the most passes, by the questions of each step."""
    asked = ([part.conditioning for ask in asks for part in sides[ask.side].parts] for asks in steps)
    return max(asked, key=len, default=[])


def second_texts(steps: Iterable[Sequence[Ask]]) -> int:
    """How many questions of a step see a second text beside their own, at most."""
    return max((sum(bool(ask.reads) for ask in asks) for asks in steps), default=0)


def bytes_in_time(asked: Sequence[Conditioning], config: DiTConfig, batch: int, itemsize: int) -> int:
    """Of texts that take turns in time: as they are and embedded, and the keys and values of one."""
    travels = [len(prompt.travel.texts) for prompt in asked if prompt.travel is not None]
    embedded = config.dim * itemsize
    numbers = sum(count * (4 * config.text_dim + embedded) + 2 * embedded for count in travels)
    return batch * config.text_tokens * numbers
