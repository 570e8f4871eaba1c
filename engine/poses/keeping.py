"""How much of a pose video's way through the blocks a run keeps, and where (Wan-Animate-2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import torch

from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.memory.free_ram import free_ram_bytes
from ...common.records import record
from ...dit.branches.pose_memory import NO_POSE_MEMORY, KeptPoses, NoPoseMemory

PosePlace = Literal["RAM", "device", "nowhere"]
POSE_PLACES: tuple[PosePlace, ...] = ("RAM", "device", "nowhere")

FREE_SHARE = 0.5
"""The part of the free RAM that is used where nobody says how much; weights may be windows into their file there."""


@record
class PoseKeeping:
    """What is wanted.

    Attributes:
        place: in RAM, on the device, or nowhere: then all of it is made again in every pass.
        in_8_bit: whether it is rounded, to about half of the bytes.
        most_bytes: of all of it; 0 for as much as there is, on the device, and half of what is free in RAM.

    Raises:
        InvalidInputError: a place that there is not, or less than nothing.
    """

    place: PosePlace = "RAM"
    in_8_bit: bool = False
    most_bytes: int = 0

    def __post_init__(self) -> None:
        if self.place not in POSE_PLACES or self.most_bytes < 0:
            raise InvalidInputError(
                f"Poses are kept in one of {', '.join(POSE_PLACES)}, in 0 bytes (as many as there are) or more, got "
                f"{self.place!r} and {self.most_bytes}. Leave them as they come."
            )

    def planned_bytes(self, needed_bytes: int) -> int:
        """Of so many, how many are kept where all of it finds room."""
        if self.place == "nowhere":
            return 0
        return min(needed_bytes, self.most_bytes) if self.most_bytes else needed_bytes


KEPT_IN_RAM = PoseKeeping()


class PoseRoom(NamedTuple):
    """What a model of a run keeps of poses.

    `needed_bytes`: of all that a step can use again, 0 without poses. `tokens_bytes`: of the tokens of poses, as plain
    numbers, that a pass sees at most.
    """

    keeping: PoseKeeping = KEPT_IN_RAM
    needed_bytes: int = 0
    tokens_bytes: int = 0

    @property
    def is_on_device(self) -> bool:
        """Whether it takes something of the device that RAM could hold."""
        return self.keeping.place == "device" and self.needed_bytes > 0

    @property
    def device_bytes(self) -> int:
        """What it takes of the device where all of it finds room; rounded tokens are seen beside those they are of."""
        rounded = self.tokens_bytes if self.keeping.in_8_bit and self.keeping.place != "nowhere" else 0
        return rounded + (self.keeping.planned_bytes(self.needed_bytes) if self.is_on_device else 0)

    @property
    def host_bytes(self) -> int:
        """The same of RAM."""
        return 0 if self.is_on_device else self.keeping.planned_bytes(self.needed_bytes)

    def lowered(self) -> PoseRoom:
        """The same in RAM."""
        return self._replace(keeping=replace(self.keeping, place="RAM", most_bytes=0))

    def start(self, device: torch.device) -> KeptPoses | NoPoseMemory:
        """The memory of a run, of a model on this device; nothing is in it."""
        most = self.keeping.planned_bytes(self.needed_bytes)
        if not most:
            return NO_POSE_MEMORY
        if self.keeping.place == "RAM" and not self.keeping.most_bytes:
            free = free_ram_bytes()
            most = most if free is None else min(most, int(FREE_SHARE * free))
        if most < self.needed_bytes:
            logger.info(
                "Of the poses' way through the blocks %.1f of %.1f GB are kept; the rest is made again in every step.",
                most / 1e9, self.needed_bytes / 1e9,
            )  # fmt: skip
        place = torch.device("cpu") if self.keeping.place == "RAM" else None
        return KeptPoses(place, most, in_8_bit=self.keeping.in_8_bit)
