"""Who computes the passes of a run: this device alone, or with others that make the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from torch import Tensor

from ..common.ranks import ALONE, Ranks
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

    @property
    def is_first(self) -> bool:
        """Whether this is the one that tells and saves for all."""
        ...

    @property
    def ranks(self) -> Ranks:
        """They, as what hands parts of other work from one to the other."""
        ...

    def explained(self) -> AbstractContextManager[None]:
        """Inside, where something else than passes is shared, errors say what has become of another device."""
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

    def is_same(self, own: int) -> bool:
        """Whether all have this number; all ask at the same time."""
        ...


class PlannedDevices(NamedTuple):
    """So many devices of a run that is planned and computes nothing, or this one alone."""

    devices: int

    @property
    def is_first(self) -> bool:
        """See `Sharing.is_first`."""
        return True

    @property
    def ranks(self) -> Ranks:
        """See `Sharing.ranks`."""
        return ALONE

    def explained(self) -> AbstractContextManager[None]:
        """See `Sharing.explained`."""
        return nullcontext()

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

    def is_same(self, own: int) -> bool:
        """See `Sharing.is_same`."""
        return True


ONE_DEVICE = PlannedDevices(1)
