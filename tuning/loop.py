"""The training loop: a generator that makes one step after the other and yields what came of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from ..common.errors import InvalidInputError, NumericalError
from ..common.records import record
from .batch import TrainingBatch
from .learner import Learner
from .noise import NoiseLevels
from .objective import Predict, flow_loss, seeded

Supply = Callable[[int, int], Sequence[TrainingBatch]]
"""Gives the batches of a step and of one of its turns, by their numbers: clips, and behind them those of a prior."""


@record
class TrainingCourse:
    """How long a training is.

    Attributes:
        steps: in all.
        turns: batches whose gradients one step adds up.
        seed: of noise and of captions that are left out.
    """

    steps: int = 1500
    turns: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.turns < 1:
            raise InvalidInputError(
                f"A training has 1 step or more, of 1 batch or more each, got {self.steps} and {self.turns}. Use 1500 "
                "and 1."
            )


@record
class TrainedStep:
    """What came of a step.

    Attributes:
        step: how many were made, this one included.
        steps: in all.
        loss: of its clips, the mean over its turns.
        prior_loss: of those of the prior; None without one.
        learning_rate: that it was made with.
        gradient: the length of its gradient before it was clipped.
    """

    step: int
    steps: int
    loss: float
    prior_loss: float | None
    learning_rate: float
    gradient: float


def learn(
    predict: Predict, learner: Learner, supply: Supply, levels: NoiseLevels, course: TrainingCourse
) -> Iterator[TrainedStep]:
    """Makes the steps that are left, and yields after each; the learner can be saved then, or sampled with.

    Args:
        predict: the model with the learner's adapter on it (`dit.adapters.adapted`).
        learner: is changed by every step.
        supply: the batches, on the device of the model.

    Raises:
        NumericalError: a loss is NaN or infinite.
    """
    while learner.step < course.steps:
        losses: list[list[float]] = [[], []]
        for turn in range(course.turns):
            for number, batch in enumerate(supply(learner.step, turn)):
                generator = seeded(course.seed, learner.step, turn, number)
                loss = flow_loss(predict, batch, levels, generator)
                (loss * (batch.weight / course.turns)).backward()
                losses[min(number, 1)].append(float(loss.detach()))
        _check(losses[0] + losses[1], learner.step)
        rate, gradient = learner.advance(course.steps)
        own, prior = (sum(each) / len(each) if each else None for each in losses)
        yield TrainedStep(learner.step, course.steps, own or 0.0, prior, rate, gradient)


def _check(losses: Sequence[float], step: int) -> None:
    if not bool(torch.tensor(losses).isfinite().all()):
        raise NumericalError(
            f"The loss of step {step + 1} is NaN or infinite. Choose a lower learning rate or precision bf16, and "
            "check the clips."
        )
