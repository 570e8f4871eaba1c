"""How much memory a training may take, as its TOML says it."""

from __future__ import annotations

from typing import Literal

from ...common.checking import choice_of
from ...common.errors import InvalidInputError
from ...common.records import record
from ...memory.budget import GB, KINDS, LEAVE_FREE_BYTES, Budget, BudgetKind

Recompute = Literal["auto", "blocks", "parts"]
RECOMPUTES: tuple[Recompute, ...] = ("auto", "blocks", "parts")
AUTO = -1


@record
class TrainingMemory:
    """What a training may take; what is chosen does not change its numbers.

    Attributes:
        budget, gigabytes: device memory to leave free, or to use at most, as of a run.
        pinned_ram: GB of RAM that swapped blocks and inputs may take; 0 for 45 % of the machine's.
        blocks_to_swap: -1 for as few as fit.
        inputs_in_ram: blocks whose inputs wait there for the backward pass; -1 for as few as fit.
        recompute: whether a block is run again as a whole, or part by part, which takes less and lasts longer.

    Raises:
        InvalidInputError: a choice that there is not, or a negative number.
    """

    budget: BudgetKind = "leave free"
    gigabytes: float = LEAVE_FREE_BYTES / GB
    pinned_ram: float = 0.0
    blocks_to_swap: int = AUTO
    inputs_in_ram: int = AUTO
    recompute: Recompute = "auto"

    def __post_init__(self) -> None:
        choice_of(self.budget, KINDS, "budget")
        choice_of(self.recompute, RECOMPUTES, "recompute")
        if min(self.blocks_to_swap, self.inputs_in_ram) < AUTO or min(self.gigabytes, self.pinned_ram) < 0:
            raise InvalidInputError(
                "Memory is not negative, and blocks_to_swap and inputs_in_ram are numbers of blocks or -1, got "
                f"{self.gigabytes:g} and {self.pinned_ram:g} GB, {self.blocks_to_swap} and {self.inputs_in_ram}. Use "
                "1, 0, -1 and -1."
            )

    @property
    def bytes(self) -> Budget:
        """The device memory as a budget."""
        return Budget(self.budget, round(self.gigabytes * GB))

    @property
    def pinned_bytes(self) -> int | None:
        """The cap on RAM; None for the usual one."""
        return round(self.pinned_ram * GB) or None
