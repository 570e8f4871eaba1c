"""The questions that a step puts to the model, as data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol

from torch import Tensor

from ..common.errors import InvalidInputError
from ..common.records import record
from ..dit.context import Avoided
from ..dit.inputs import DitInputs, expand_batch

Side = Literal["positive", "negative"]
TextOf = Callable[[Side], Tensor]
"""The text [1 or B, text_tokens, text_dim] of a side."""


class Perturbation(Protocol):
    """A way in which a question differs from a plain one; frozen, and equal to others of the same values."""

    @property
    def reads(self) -> frozenset[Side]:
        """The sides whose text it needs beside that of the question."""
        ...

    def apply(self, inputs: DitInputs, text: TextOf) -> DitInputs:
        """The inputs of the pass, changed; `text` gives that of a side that it reads."""
        ...


@record
class SkippedBlocks:
    """Some of the model's own blocks, by number, leave the tokens as they are."""

    blocks: frozenset[int]

    @property
    def reads(self) -> frozenset[Side]:
        """None."""
        return frozenset()

    def apply(self, inputs: DitInputs, text: TextOf) -> DitInputs:
        """Skips these blocks, too."""
        return replace(inputs, skipped=inputs.skipped | self.blocks)


@record
class AvoidedText:
    """Normalized attention guidance: in the same pass, attention leads away from the negative text.

    Attributes: see `dit.context.Avoided`.

    Raises:
        InvalidInputError: a number out of its bounds.
    """

    scale: float
    alpha: float
    tau: float

    def __post_init__(self) -> None:
        if not (1.0 <= self.scale < math.inf and 0.0 <= self.alpha <= 1.0 and self.tau >= 1.0):
            raise InvalidInputError(
                "Normalized attention guidance takes a scale of 1 (off) or more, an alpha from 0 to 1 and a tau of 1 "
                f"or more, got {self.scale:g}, {self.alpha:g} and {self.tau:g}. Usual are 11, 0.25 and 2.5."
            )

    @property
    def reads(self) -> frozenset[Side]:
        """The negative side."""
        return frozenset({"negative"})

    def apply(self, inputs: DitInputs, text: TextOf) -> DitInputs:
        """Leads away from the negative text."""
        negative = expand_batch(text("negative"), inputs.latent.shape[0])
        return replace(inputs, avoided=Avoided(negative, self.scale, self.alpha, self.tau))


@record(eq=False)
class OtherText:
    """Another text in place of the side's own, or of those in time; pictures and all else stay.

    Attributes:
        text: [1 or B, text_tokens, text_dim].
    """

    text: Tensor

    @property
    def reads(self) -> frozenset[Side]:
        """None."""
        return frozenset()

    def apply(self, inputs: DitInputs, text: TextOf) -> DitInputs:
        """Takes this text."""
        own = self.text.to(inputs.latent.device)
        return replace(inputs, text=expand_batch(own, inputs.latent.shape[0]), travel=None)


@record
class LessContext:
    """Of the clips beside the video the model sees the source alone, or none."""

    keeps_source: bool

    @property
    def reads(self) -> frozenset[Side]:
        """None."""
        return frozenset()

    def apply(self, inputs: DitInputs, text: TextOf) -> DitInputs:
        """Leaves the others out, see `ClipBeside.unshown`; where there are none, nothing changes."""
        seen = (clip if clip.is_source and self.keeps_source else clip.unshown() for clip in inputs.in_context)
        return replace(inputs, in_context=tuple(clip for clip in seen if clip is not None))


@record
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

    @property
    def reads(self) -> frozenset[Side]:
        """The sides whose text the question needs beside its own."""
        return frozenset().union(*(each.reads for each in self.perturbations))

    def inputs(self, plain: DitInputs, text: TextOf) -> DitInputs:
        """The inputs of this question from those of a plain one; `text` gives that of another side."""
        for perturbation in self.perturbations:
            plain = perturbation.apply(plain, text)
        return plain


POSITIVE, NEGATIVE = Ask("positive"), Ask("negative")
