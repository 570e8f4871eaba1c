"""The questions that a step puts to the model, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

from ..dit.inputs import DitInputs

Side = Literal["positive", "negative"]


class Perturbation(Protocol):
    """A way in which a question differs from a plain one; frozen, and equal to others of the same values."""

    def apply(self, inputs: DitInputs) -> DitInputs:
        """The inputs of the pass, changed."""
        ...


@dataclass(frozen=True, slots=True)
class SkippedBlocks:
    """Some of the model's own blocks, by number, leave the tokens as they are."""

    blocks: frozenset[int]

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Skips these blocks, too."""
        return replace(inputs, skipped=inputs.skipped | self.blocks)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the model.

    Attributes:
        side: whose text and pictures.
        perturbations: applied in order.
        part: of a side of several prompts (see `prompts.Prompts`), the one that is asked; guidance leaves it at 0.
    """

    side: Side
    perturbations: tuple[Perturbation, ...] = ()
    part: int = 0

    def inputs(self, plain: DitInputs) -> DitInputs:
        """The inputs of this question from those of a plain one."""
        for perturbation in self.perturbations:
            plain = perturbation.apply(plain)
        return plain


POSITIVE, NEGATIVE = Ask("positive"), Ask("negative")
