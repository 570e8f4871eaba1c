"""What of a computed pass is added again in a pass that is spared."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from ...common.records import record
from ..transformer import Transformer
from .cache import Question, computed, read_out


class Answers(NamedTuple):
    """The velocities [B, C, T, h, w] of some questions, and what each leaves to be added again."""

    velocities: list[Tensor]
    kept: list[Tensor]


class Reuse(Protocol):
    """A choice of it."""

    def compute(self, questions: list[Question], model: Transformer) -> Answers:
        """The answers in full; empties the list."""
        ...

    def again(self, question: Question, kept: Tensor, model: Transformer) -> Tensor:
        """The velocity of a question from what an earlier one of its kind left; not written to."""
        ...

    def kept_bytes(self, asks: int, tokens_bytes: int, latent_bytes: int) -> int:
        """See `Cache.kept_bytes`."""
        ...


@record
class BlocksChange:
    """What all blocks together add to the tokens [B, L, D]; what comes before and after them is computed anew."""

    def compute(self, questions: list[Question], model: Transformer) -> Answers:
        """See `Reuse.compute`."""
        passes = [question.embedded for question in questions]
        questions.clear()
        changes = [embedded.tokens.clone() for embedded in passes]  # the blocks may overwrite them
        tokens = model.trunk(passes)
        for change, after in zip(changes, tokens):
            change.neg_().add_(after)
        return Answers(read_out(tokens, passes, model), changes)

    def again(self, question: Question, kept: Tensor, model: Transformer) -> Tensor:
        """See `Reuse.again`."""
        return model.unembed(question.embedded.tokens + kept, question.embedded).float()

    def kept_bytes(self, asks: int, tokens_bytes: int, latent_bytes: int) -> int:
        """Those of the last step and of this one: a step that fails is made again from the last one's."""
        return 2 * asks * tokens_bytes


@record
class OutputChange:
    """What the model as a whole adds to the latent [B, C, T, h, w] that it sees."""

    def compute(self, questions: list[Question], model: Transformer) -> Answers:
        """See `Reuse.compute`."""
        latents = [question.inputs.latent for question in questions]
        velocities = computed(questions, model)
        return Answers(velocities, [velocity - latent for velocity, latent in zip(velocities, latents)])

    def again(self, question: Question, kept: Tensor, model: Transformer) -> Tensor:
        """See `Reuse.again`."""
        return question.inputs.latent.float() + kept

    def kept_bytes(self, asks: int, tokens_bytes: int, latent_bytes: int) -> int:
        """See `BlocksChange.kept_bytes`."""
        return 2 * asks * latent_bytes
