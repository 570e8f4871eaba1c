"""What became of every tensor of a LoRA file."""

from __future__ import annotations

from collections.abc import Mapping

from ...common.records import record


@record
class LoraReport:
    """Counts of tensors.

    Attributes:
        name: the file.
        matched: tensors in use.
        parameters: parameters of the model they change.
        ignored: why tensors are left out without harm -> how many.
        unmatched: names of tensors that fit nothing in the model.
    """

    name: str
    matched: int
    parameters: int
    ignored: Mapping[str, int]
    unmatched: tuple[str, ...]

    @property
    def total(self) -> int:
        """Tensors in the file."""
        return self.matched + sum(self.ignored.values()) + len(self.unmatched)

    def line(self) -> str:
        """One line for the log."""
        parts = [f"{self.matched} of {self.total} tensors matched, which change {self.parameters} parameters"]
        parts += [f"{count} ignored ({reason})" for reason, count in self.ignored.items()]
        if self.unmatched:
            parts.append(f"{len(self.unmatched)} unmatched (first: {self.unmatched[0][:100]})")
        return f"{self.name}: {'; '.join(parts)}."
