"""A cache that spares whole steps: where the estimated change is small, answers are made from earlier ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Protocol

from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ...dit.inputs import DitInputs
from ..ask import Ask
from ..step import NoiseLevel
from ..transformer import Transformer
from .cache import NOTHING_KEPT, Evaluation, Kept, Question, Tally
from .estimate import Estimate, number
from .reuse import Reuse

FEWEST_STEPS = 10
"""With fewer steps each of them changes too much to be spared."""
_ERROR, _SPARED_IN_A_ROW, _SPARES, _NOTED, _ANSWER = "error", "spared_in_a_row", "spares", "noted.", "answer."


class Part(Protocol):
    """See `guidance.parts.Part`."""

    def holds(self, level: NoiseLevel) -> bool:
        """Whether the step that begins at this noise level is in it."""
        ...


@record
class StepCache:
    """Spares a step when the estimated change since the last computed one stays below a threshold.

    The first question of a step decides for all of its questions, and for all times that its solver asks.

    Attributes:
        estimate: how much the answer changes from step to step.
        reuse: what stands in for the model.
        threshold: what the changes of the spared steps may add up to; 0 spares none.
        part: the steps that may be spared.
        most_in_a_row: how many may be; 0 for any number.
        fewest_steps: see `Cache.fewest_steps`.

    Raises:
        InvalidInputError: a number out of its bounds.
    """

    estimate: Estimate
    reuse: Reuse
    threshold: float
    part: Part
    most_in_a_row: int = 0
    fewest_steps: int = FEWEST_STEPS

    def __post_init__(self) -> None:
        if not (0.0 <= self.threshold < float("inf") and self.most_in_a_row >= 0):
            raise InvalidInputError(
                "A step cache takes a threshold of 0 (off) or more, and 0 (any number) or more steps in a row, got "
                f"{self.threshold:g} and {self.most_in_a_row}. Leave them as they come."
            )

    def start(self, evaluation: Evaluation, kept: Kept = NOTHING_KEPT) -> StepCacheRun:
        """See `Cache.start`."""
        return StepCacheRun(self, evaluation, kept)

    def kept_bytes(self, asks: int, tokens_bytes: int, latent_bytes: int) -> int:
        """See `Cache.kept_bytes`."""
        return self.reuse.kept_bytes(asks, tokens_bytes, latent_bytes) + self.estimate.kept_bytes(latent_bytes)


class StepCacheRun:
    """See `CacheRun`. What was kept is never changed: an evaluation that fails begins again from it."""

    def __init__(self, cache: StepCache, evaluation: Evaluation, kept: Kept) -> None:
        self._cache, self._evaluation = cache, evaluation
        self._earlier = _below(kept, _ANSWER)
        self._noted: Kept = _below(kept, _NOTED)
        self._left: dict[str, Tensor] = {}
        self._error = float(kept.get(_ERROR, 0.0))
        self._in_a_row = int(kept.get(_SPARED_IN_A_ROW, 0))
        self._spares: bool | None = None if evaluation.is_first else bool(kept.get(_SPARES, False))
        self._names: Counter[str] = Counter()
        self.tally = Tally()

    def velocities(self, questions: list[Question], model: Transformer) -> list[Tensor]:
        """See `CacheRun.velocities`."""
        names = [self._name(question.ask) for question in questions]
        leading: DitInputs | None = None
        if self._spares is None:
            self._spares = self._decide(questions[0], names[0])
            leading = None if self._spares else questions[0].inputs
        reused = [self._spares and name in self._earlier for name in names]
        wanted = [question for question, is_reused in zip(questions, reused) if not is_reused]
        waiting = [question if is_reused else None for question, is_reused in zip(questions, reused)]
        questions.clear()
        fresh: Iterator[Tensor] = iter(())
        if wanted:
            answers = self._cache.reuse.compute(wanted, model)
            self._left |= zip([name for name, is_reused in zip(names, reused) if not is_reused], answers.kept)
            if leading is not None and self._is_active:
                self._noted = self._cache.estimate.computed(self._noted, leading, answers.velocities[0])
            fresh = iter(answers.velocities)
        velocities = [
            next(fresh) if each is None else self._again(each, name, model) for each, name in zip(waiting, names)
        ]
        self.tally = self.tally.plus(Tally(len(names), sum(reused), self._error if any(reused) else 0.0))
        return velocities

    def kept(self) -> Kept:
        """See `CacheRun.kept`: what the questions of this evaluation left, and nothing of others."""
        numbers = {
            _ERROR: number(self._error),
            _SPARED_IN_A_ROW: number(self._in_a_row),
            _SPARES: number(bool(self._spares)),
        }
        noted = {_NOTED + name: value for name, value in self._noted.items()}
        return numbers | noted | {_ANSWER + name: value for name, value in self._left.items()}

    @property
    def _is_active(self) -> bool:
        return self._cache.part.holds(self._evaluation.step)

    def _decide(self, question: Question, name: str) -> bool:
        """Whether the step is spared, by its first question."""
        cache = self._cache
        if self._is_active:
            change, self._noted = cache.estimate.start(self._noted, self._evaluation.step, question)
            if change is not None and name in self._earlier:
                self._error += change
                has_room = not cache.most_in_a_row or self._in_a_row < cache.most_in_a_row
                if has_room and self._error < cache.threshold:
                    self._in_a_row += 1
                    return True
        self._error, self._in_a_row = 0.0, 0
        return False

    def _again(self, question: Question, name: str, model: Transformer) -> Tensor:
        self._left[name] = self._earlier[name]
        return self._cache.reuse.again(question, self._earlier[name], model)

    def _name(self, ask: Ask) -> str:
        """Of a question: the same in every step, another one for each question of a step."""
        kind = "+".join(type(each).__name__ for each in ask.perturbations)
        name = f"{ask.side}.{ask.part}.{kind}"
        self._names[name] += 1
        return f"{name}.{self._names[name]}"


def _below(kept: Kept, prefix: str) -> Mapping[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
