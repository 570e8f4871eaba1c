"""Who computes the passes of a run: this device alone, or with others that make the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from .execution import Execution
from .model import Embedded

Trunk = Callable[[Sequence[Embedded], Execution], list[Tensor]]
"""All blocks, see `model.WanDiT.trunk`."""


class Sharing(Protocol):
    """How the passes of a run are shared."""

    @property
    def devices(self) -> int:
        """How many compute."""
        ...

    def trunk(self, trunk: Trunk, passes: Sequence[Embedded], execution: Execution) -> list[Tensor]:
        """What the blocks make of all passes, whole on every device; `trunk` runs those of this one.

        Raises:
            SharingError: another device has ended.
        """
        ...


class OneDevice:
    """This device alone."""

    devices = 1

    def trunk(self, trunk: Trunk, passes: Sequence[Embedded], execution: Execution) -> list[Tensor]:
        """See `Sharing.trunk`."""
        return trunk(passes, execution)


class PlannedDevices(NamedTuple):
    """So many devices of a run that is planned, and computes nothing."""

    devices: int

    def trunk(self, trunk: Trunk, passes: Sequence[Embedded], execution: Execution) -> list[Tensor]:
        """See `Sharing.trunk`."""
        return trunk(passes, execution)


ONE_DEVICE = OneDevice()
