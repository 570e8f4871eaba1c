"""Prompt travel in a native CONDITIONING: entries that are turns of one schedule, and how they are read.

The length of the clip is known when it is sampled, so an entry says whose turn it is, and not in which frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.errors import InvalidInputError
from ...dit.context import TextTravel
from ...dit.inputs import Conditioning
from ...sampling.prompts import PromptPart
from ...sampling.travel import PromptSchedule
from ..sockets.models import MadeBy
from .keys import OF_THE_EMBEDDING, ONLY_OURS
from .weights import weighted

TRAVEL_KEY = "wan_director_travel"
_OWN_OF_EACH = OF_THE_EMBEDDING | {TRAVEL_KEY, "control"}


class Turn(NamedTuple):
    """An entry is the prompt of this number of a schedule; all in one pass of the model, or each in its own."""

    schedule: PromptSchedule
    number: int
    in_one_pass: bool


class RunOf(NamedTuple):
    """The side that prompts are for, for messages; the shift of the schedule, and the frames of a second."""

    side: str
    shift: float
    fps: float


def in_turns(prompts: Sequence[list], schedule: PromptSchedule, *, in_one_pass: bool) -> list:
    """A native CONDITIONING of those of several prompts, one after another in time."""
    if len(prompts) == 1:
        return prompts[0]
    return [
        [embedding, {**values, TRAVEL_KEY: Turn(schedule, number, in_one_pass), "control": ONLY_OURS}]
        for number, prompt in enumerate(prompts)
        for embedding, values in prompt[:1]
    ]


def parts_of(
    prompts: Sequence[Conditioning],
    values: Sequence[dict[str, Any]],
    samples: Tensor,
    references: int,
    *,
    run: RunOf,
) -> list[PromptPart]:
    """The prompts of a side with what their entries give them: range, mask, strength, and their turns in time.

    Args:
        values: of the entry of each prompt.
        samples: [B, C, T, h, w], the latent to sample.
        references: how many of its frames stand before the video; they see what its first frame sees.
        run: which side this is, and of what.

    Raises:
        InvalidInputError: a value cannot be; a travel is not whole, or its times do not fit the clip.
    """
    parts = [weighted(prompt, each, samples, run.side, run.shift) for prompt, each in zip(prompts, values)]
    frames = (samples.shape[2], references)
    found: list[PromptPart] = []
    while len(parts):
        turn = values[0].get(TRAVEL_KEY)
        count = 1 if turn is None else len(turn.schedule.starts)
        own, given = parts[:count], values[:count]
        found += own if turn is None else _in_time(turn, own, given, _shares(turn.schedule, frames, run.fps), run.side)
        parts, values = parts[count:], values[count:]
    return found


def _in_time(
    turn: Turn, parts: Sequence[PromptPart], values: Sequence[dict[str, Any]], shares: Tensor, side: str
) -> list[PromptPart]:
    """The prompts of one travel, by their shares [prompts, T]."""
    if [each.get(TRAVEL_KEY) for each in values] != [turn._replace(number=number) for number in range(len(shares))]:
        raise InvalidInputError(
            f"The {side} conditioning holds a part of a prompt travel: it has {len(shares)} prompts, and not all came "
            "here in their order. Connect all that Wan Prompt Travel gives."
        )
    if not turn.in_one_pass:
        return [replace(part, weight=part.weight * share[:, None, None]) for part, share in zip(parts, shares)]
    first, *others = ({key: each[key] for key in each if key not in _OWN_OF_EACH} for each in values)
    if not all(_is_same(first, other) for other in others):
        raise InvalidInputError(
            f"The prompts of the travel in the {side} conditioning differ in more than their text (mask, strength, "
            "range or pictures), and one pass of the model has one of each. Choose the method passes in Wan Prompt "
            "Travel, or change all of them alike."
        )
    texts = tuple(part.conditioning.text for part in parts)
    return [replace(parts[0], conditioning=replace(parts[0].conditioning, travel=TextTravel(texts, shares)))]


def _shares(schedule: PromptSchedule, frames: tuple[int, int], fps: float) -> Tensor:
    """[prompts, T]; references see what the first frame of the video sees."""
    latent_frames, references = frames
    shares = schedule.shares(latent_frames - references, fps)
    return torch.cat([shares[:, :1].expand(-1, references), shares], dim=1)


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, MadeBy) and isinstance(other, MadeBy):
        return one.spec is other.spec
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, int | float | str) and bool(one == other)
