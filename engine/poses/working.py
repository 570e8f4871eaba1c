"""What is kept of poses while a model works: made anew when the way to compute changes, or the weights do."""

from __future__ import annotations

import torch

from ...dit.branches.pose_memory import NO_POSE_MEMORY, KeptPoses, NoPoseMemory, PoseMemory
from .keeping import PoseRoom


class WorkingPoses:
    """The memory of poses of one model at work.

    Args:
        room: for them.
    """

    def __init__(self, room: PoseRoom) -> None:
        self._room = room
        self._kept: KeptPoses | NoPoseMemory = NO_POSE_MEMORY
        self._strengths: tuple[float, ...] = ()

    def start(self, device: torch.device) -> PoseMemory:
        """An empty memory for a model on this device."""
        self._kept = self._room.start(device)
        return self._kept

    def begin_step(self, strengths: tuple[float, ...]) -> None:
        """Lets go of what is of no use in the step that comes.

        Args:
            strengths: of the adapters in it; with others, all blocks give something else.
        """
        if strengths != self._strengths:
            self._kept.forget()
        self._strengths = strengths
        self._kept.begin_step()

    def give_up(self) -> None:
        """Lets go of everything."""
        self._kept = NO_POSE_MEMORY

    def leave_device(self) -> bool:
        """Keeps in RAM from now on what was kept on the device; whether there was anything."""
        was_there = self._room.is_on_device
        if was_there:
            self._room = self._room.lowered()
        return was_there


NO_ROOM = PoseRoom()
