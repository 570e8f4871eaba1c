"""Adapters as they travel: what a file changes, and how strongly, where and when it is applied."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from ...common.errors import InvalidInputError
from ...common.records import record
from .deltas import Change
from .merging import is_stored

_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


@record(eq=False)
class Adapter:
    """One LoRA file, resolved against one kind of model.

    Attributes:
        name: the file's name, for messages.
        changes: official parameter name ("blocks.0.self_attn.q.weight") -> what is done to it.
    """

    name: str
    changes: Mapping[str, tuple[Change, ...]]

    @property
    def size_bytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(change.size_bytes for changes in self.changes.values() for change in changes)


@record(eq=False)
class AppliedAdapter:
    """An adapter with the settings of its node.

    Attributes:
        strength: 1 as trained, 0 off, negative the opposite.
        blocks: numbers of the blocks it changes, and then nothing outside them; None for everything.
        start, end: the part of the steps it is active in, 0..1; a step counts by where it begins.
        merge: sum it into plain weights as they are used, instead of computing it beside them.
    """

    adapter: Adapter
    strength: float = 1.0
    blocks: frozenset[int] | None = None
    start: float = 0.0
    end: float = 1.0
    merge: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength):
            raise InvalidInputError(f"The strength of a LoRA is a number, usually 0 to 1, got {self.strength}.")
        check_span(self.start, self.end)

    def strength_at(self, progress: float) -> float:
        """The strength in a step that begins at `progress` (0 the first step, below 1 the last)."""
        return self.strength if self.start <= progress < self.end else 0.0

    def changes(self) -> Mapping[str, tuple[Change, ...]]:
        """What is left of the adapter's changes by the choice of blocks; nothing at strength zero."""
        if self.strength == 0.0 or self.start == self.end:
            return {}
        if self.blocks is None:
            return self.adapter.changes
        return {name: changes for name, changes in self.adapter.changes.items() if self._chooses(name)}

    def check_mergeable(self, parameters: ParameterShapes) -> None:
        """Refuses to merge into weights that are stored quantised.

        Raises:
            InvalidInputError: it is to be merged into such a weight.
        """
        into = parameters.quantised.intersection(self.changes()) if self.merge else ()
        if into:
            raise InvalidInputError(
                f"{self.adapter.name} cannot be merged into a quantised model: the sum with {min(into)} would have to "
                "be rounded back to its few bits. Switch merge off; beside the weights the LoRA is exact."
            )

    def check_blocks(self) -> None:
        """Refuses a choice of blocks that leaves nothing of the adapter.

        Raises:
            InvalidInputError: none of the chosen blocks is changed by it.
        """
        if self.blocks is None or any(self._chooses(name) for name in self.adapter.changes):
            return
        numbers = sorted({int(block[1]) for name in self.adapter.changes if (block := _BLOCK.match(name))})
        changed = f"the blocks {numbers[0]} to {numbers[-1]}" if numbers else "nothing inside blocks"
        raise InvalidInputError(
            f"{self.adapter.name} changes {changed} of this model, but the chosen ones are others, so it would do "
            "nothing. Choose some of its blocks, or 'all'."
        )

    def _chooses(self, name: str) -> bool:
        block = _BLOCK.match(name)
        return block is not None and self.blocks is not None and int(block[1]) in self.blocks


@record(eq=False)
class ParameterShapes:
    """The names and true shapes of a model's parameters, and which of them are stored quantised."""

    shapes: Mapping[str, tuple[int, ...]]
    quantised: frozenset[str] = frozenset()

    @classmethod
    def of(cls, model: nn.Module) -> ParameterShapes:
        """Those of a module; one on the meta device will do."""
        shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
        linear = {f"{path}.weight": layer for path, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        shapes |= {name: (layer.out_features, layer.in_features) for name, layer in linear.items()}
        return cls(MappingProxyType(shapes), frozenset(name for name, layer in linear.items() if is_stored(layer)))


def check_span(start: float, end: float) -> None:
    """Refuses a part of the steps that is none."""
    if not 0.0 <= start <= end <= 1.0:
        raise InvalidInputError(
            f"A LoRA is active from start_percent to end_percent, 0 <= start <= end <= 1, got {start:g} and {end:g}. "
            "Use 0 and 1 for all steps."
        )


def parse_blocks(text: str) -> frozenset[int] | None:
    """ "all" -> None; "0-9, 20" -> those numbers.

    Raises:
        InvalidInputError: the text is neither.
    """
    if text.strip().lower() in ("", "all"):
        return None
    numbers: set[int] = set()
    for piece in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", piece)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise InvalidInputError(f"Blocks are 'all' or numbers such as '0-9,20', got {text[:80]!r}.")
        numbers.update(range(first, last + 1))
    return frozenset(numbers)
