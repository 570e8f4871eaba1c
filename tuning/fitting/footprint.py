"""How many bytes a step of training takes beside the weights. Arithmetic, no tensors; tests compare it with what the
meta device counts.

The most is there when the last block is gone back through: what it keeps of its forward pass, gradients on their way,
and the inputs of the blocks before it.
"""

from __future__ import annotations

from typing import NamedTuple

from ...dit.branches.branch import PassShape
from ...dit.config import DiTConfig
from ...dit.footprint import block_weights
from ...dit.tokens import matrix_run_of
from ...model_loading.footprint import ModelBytes
from ..learner import OptimiserSettings
from ..new_adapter import AdapterSettings

_SINGLE = 4
"""Bytes of a number in float32."""
_GAIN_ROWS = 1024
"""Rows of a matrix at a time, of which DoRA takes the lengths; see `dit.adapters.merging`."""


class StepShape(NamedTuple):
    """What one step sees: clips of a size, as the model does, and how their matrices are stored and changed."""

    config: DiTConfig
    clips: PassShape
    weights: ModelBytes
    adapter: AdapterSettings


def input_bytes(step: StepShape) -> int:
    """Of what enters a block, which is kept for when it is run again."""
    return step.clips.tokens * step.config.dim * step.weights.token_itemsize


def learned_numbers(config: DiTConfig, adapter: AdapterSettings) -> int:
    """How many are learned.

    Blocks that are left out count, too: what is learned of a few is little beside all else.
    """
    dim, ffn, squares = config.dim, config.ffn_dim, 10 if config.image_tokens else 8
    attention, wide = adapter.targets != "feed_forward", adapter.targets != "attention"
    sides = attention * squares * 2 * dim + wide * 2 * (dim + ffn)
    outputs = attention * squares * dim + wide * (dim + ffn)
    rows = squares * dim + dim + ffn
    norms = (6 + bool(config.image_tokens)) * dim
    each = adapter.rank * sides + (outputs if adapter.kind == "dora" else 0)
    each += rows * adapter.biases + norms * adapter.norms
    return each * len(block_weights(config))


def learned_bytes(config: DiTConfig, adapter: AdapterSettings, optimiser: OptimiserSettings) -> int:
    """Of what is learned, float32: the numbers, their gradients, the optimiser's two of each, and the average."""
    state = 2 * (1 if optimiser.kind == "adamw8bit" else _SINGLE)
    average = _SINGLE if optimiser.average else 0
    return learned_numbers(config, adapter) * (2 * _SINGLE + state + average)


def beside_bytes(step: StepShape, part_checkpoints: bool) -> int:
    """The most that a block takes while it is gone back through, beside its input; and what all blocks see.

    Args:
        part_checkpoints: whether its parts are run again one by one, see `dit.execution.Execution`.
    """
    made = _Backward(step)
    return made.turns + max(made.in_parts if part_checkpoints else made.whole, made.ends)


class _Backward(NamedTuple):
    """What a block holds while it is gone back through. Names as in `dit.block`."""

    step: StepShape

    @property
    def tokens(self) -> int:
        return self.step.clips.tokens

    @property
    def buffer(self) -> int:
        """All tokens in the dtype of computation."""
        return self.tokens * self.step.config.dim * self.step.weights.itemsize

    @property
    def run(self) -> int:
        """Tokens at a time, of all clips."""
        length = self.step.clips.length
        return self.step.clips.batch * min(length, matrix_run_of(length))

    @property
    def last_run(self) -> int:
        return self.tokens % self.run or self.run

    def hidden(self, tokens: int) -> int:
        """Between the wide layers."""
        return tokens * self.step.config.ffn_dim * self.step.weights.itemsize

    def single(self, tokens: int) -> int:
        """Tokens in float32."""
        return tokens * self.step.config.dim * _SINGLE

    @property
    def turns(self) -> int:
        return self.step.clips.length * (self.step.config.head_dim // 2) * 8

    @property
    def text(self) -> int:
        """Numbers of the text as the blocks see it."""
        config = self.step.config
        return self.step.clips.batch * (config.text_tokens + config.image_tokens) * config.dim

    @property
    def ends(self) -> int:
        """The normed tokens after the last block, and their gradient."""
        return 3 * self.buffer

    @property
    def made(self) -> int:
        """A wide matrix as plain numbers, where it is stored packed."""
        config = self.step.config
        return config.dim * config.ffn_dim * self.step.weights.itemsize if self.step.weights.unpacking.is_made else 0

    @property
    def making(self) -> int:
        """The same while it is unpacked."""
        config = self.step.config
        return self.made + min(self.step.weights.unpacking.scratch, 7 * config.dim * config.ffn_dim)

    @property
    def lengths(self) -> int:
        """What DoRA holds of a wide matrix for the gradient of its lengths."""
        if not self.is_dora or not self.changes_wide:
            return 0
        config = self.step.config
        summed = _SINGLE * config.dim * config.ffn_dim
        rows = _SINGLE * min(_GAIN_ROWS, config.dim) * config.ffn_dim
        return summed + max(rows, summed if self.step.weights.unpacking.is_made else 0)

    @property
    def is_dora(self) -> bool:
        return self.step.adapter.kind == "dora"

    @property
    def changes_attention(self) -> bool:
        return self.step.adapter.targets != "feed_forward"

    @property
    def changes_wide(self) -> bool:
        return self.step.adapter.targets != "attention"

    @property
    def whole(self) -> int:
        """All that a block keeps, and what its wide layers take while the last run is gone back through."""
        buffers, single = 11 + 2 * self.changes_attention, self.single(self.tokens)
        kept = buffers * self.buffer + 3 * single * (1 + self.step.adapter.norms)
        kept += (1 + self.changes_wide) * self.hidden(self.tokens)
        kept += self.text * (_SINGLE + 3 * self.step.weights.itemsize)
        if self.is_dora:  # of each matrix what it gives, and its side path
            squares = 6 * self.changes_attention + self.changes_wide
            kept += 2 * (squares * self.buffer + self.changes_wide * self.hidden(self.tokens))
        last, run = self.hidden(self.last_run), self.hidden(self.run)
        wide = max(2 * last + self.lengths, last + self.buffer + self.made, self.making)
        return kept + max(wide, 2 * run - 2 * last + max(self.made, self.lengths))

    @property
    def in_parts(self) -> int:
        """The most of: attention, the norm of a run of its queries, a run between the wide layers."""
        sides = 6 * self.buffer if self.is_dora and self.changes_attention else 0
        attention = 12 * self.buffer + self.single(self.tokens) + sides
        norm = 6 * self.buffer + 6 * self.single(self.run) + sides
        run = self.hidden(self.run)
        wide = max(
            (3 + self.changes_wide) * run + self.lengths,
            3 * run + self.buffer + self.made,
            2 * run + self.buffer + self.making,
        )
        if self.is_dora and self.changes_wide:
            wide += 2 * (run + self.buffer)
        return self.text * self.step.weights.itemsize + max(attention, norm, 4 * self.buffer + wide)
