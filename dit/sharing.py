"""Who computes the passes of a run: this device alone, or with others that make the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from .execution import Execution
from .model import Embedded

Trunk = Callable[[Sequence[Embedded], Execution], list[Tensor]]
"""All blocks, see `model.WanDiT.trunk`."""


class GivenUp(RuntimeError):  # noqa: N818  (whose fault it is has another name)
    """A device cannot go on with what all do, and all of them know.

    Attributes:
        is_memory: whether it ran out of memory.
    """

    def __init__(self, *, is_memory: bool) -> None:
        super().__init__("one of the devices is out of memory" if is_memory else "one of the devices has stopped")
        self.is_memory = is_memory


class Sharing(Protocol):
    """How the passes of a run are shared."""

    @property
    def devices(self) -> int:
        """How many compute."""
        ...

    def trunk(self, trunk: Trunk, passes: Sequence[Embedded], execution: Execution) -> list[Tensor]:
        """What the blocks make of all passes, whole on every device; `trunk` runs those of this one.

        Raises:
            GivenUp: a device ran out of memory.
            SharingError: another device has ended.
        """
        ...

    def agree(self) -> None:
        """Waits until all are here.

        Raises:
            GivenUp, SharingError: see `trunk`.
        """
        ...

    def give_up(self) -> None:
        """Tells the others that this device has no memory to go on, in their next `trunk` or `agree`."""
        ...

    def any_of(self, own: bool) -> bool:
        """Whether it is so for any of them; all ask at the same time."""
        ...


class PlannedDevices(NamedTuple):
    """So many devices of a run that is planned and computes nothing, or this one alone."""

    devices: int

    def trunk(self, trunk: Trunk, passes: Sequence[Embedded], execution: Execution) -> list[Tensor]:
        """See `Sharing.trunk`."""
        return trunk(passes, execution)

    def agree(self) -> None:
        """Nobody is waited for."""

    def give_up(self) -> None:
        """Nobody waits."""

    def any_of(self, own: bool) -> bool:
        """See `Sharing.any_of`."""
        return own


ONE_DEVICE = PlannedDevices(1)
