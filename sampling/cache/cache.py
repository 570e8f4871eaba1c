"""What the denoiser asks of a cache: something that may stand in for a pass of the model, or for a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...dit.inputs import DitInputs
from ...dit.model import Embedded
from ..ask import Ask
from ..step import NoiseLevel
from ..transformer import Transformer

Kept = Mapping[str, Tensor]
"""What a cache remembers between steps, by names of its own: values that can be saved. Never written to."""

NOTHING_KEPT: Kept = MappingProxyType({})


class Evaluation(NamedTuple):
    """One of the times that a solver asks in a step.

    `step`: where the step begins, also where the solver looks ahead in it; `is_first`: whether it asks the first time.
    """

    step: NoiseLevel
    is_first: bool = True


class Question(NamedTuple):
    """What the model is asked, what it sees of it, and what its blocks see."""

    ask: Ask
    inputs: DitInputs
    embedded: Embedded


class Tally(NamedTuple):
    """Passes asked for, those of them that the blocks did not run for, and the most that their answers may be off."""

    asked: int = 0
    spared: int = 0
    change: float = 0.0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.asked + other.asked, self.spared + other.spared, max(self.change, other.change))

    def tensor(self) -> Tensor:
        """As a value that can be saved: [3], float64."""
        return torch.tensor(self, dtype=torch.float64)


_TALLY = "tally"


def tally_of(kept: Kept) -> Tally:
    """Of a run so far, by what is remembered."""
    if _TALLY not in kept:
        return Tally()
    asked, spared, change = kept[_TALLY].tolist()
    return Tally(int(asked), int(spared), change)


def with_tally(kept: dict[str, Tensor], tally: Tally) -> Kept:
    """What is remembered, with the tally of the run; a run that is not counted leaves nothing."""
    return kept | {_TALLY: tally.tensor()} if tally.asked else kept


class CacheRun(Protocol):
    """A cache while the model is asked."""

    @property
    def tally(self) -> Tally:
        """Of the questions so far."""
        ...

    def velocities(self, questions: list[Question], model: Transformer) -> list[Tensor]:
        """The velocity [B, C, T, h, w], float32, of each question, computed or remembered.

        Args:
            questions: those of an evaluation, or some of them: where they do not go together, each comes by itself.
                The list is emptied, so that each one's tokens are given away as soon as it is answered.
        """
        ...

    def kept(self) -> Kept:
        """What is to be remembered for the next evaluation."""
        ...


class Cache(Protocol):
    """A choice of what may stand in for the model."""

    @property
    def fewest_steps(self) -> int:
        """A run of fewer steps is better made without it."""
        ...

    def start(self, evaluation: Evaluation, kept: Kept = NOTHING_KEPT) -> CacheRun:
        """For one evaluation, with what the one before it left; nothing at the beginning."""
        ...

    def kept_bytes(self, asks: int, tokens_bytes: int, latent_bytes: int) -> int:
        """The most that is remembered and worked on, of so many questions.

        Args:
            tokens_bytes: of the tokens of a question.
            latent_bytes: of the latent of a question, in float32.
        """
        ...


def computed(questions: list[Question], model: Transformer) -> list[Tensor]:
    """The velocities of questions, in full; empties the list."""
    passes = [question.embedded for question in questions]
    questions.clear()
    return read_out(model.trunk(passes), passes, model)


def read_out(tokens: list[Tensor], passes: list[Embedded], model: Transformer) -> list[Tensor]:
    """The velocities from the tokens after the blocks; empties both lists."""
    velocities: list[Tensor] = []
    while tokens:  # each is given away before the next is read out
        velocities.append(model.unembed(tokens.pop(0), passes.pop(0)).float())
    return velocities
