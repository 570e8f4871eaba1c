"""The devices of a group as those that share a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..common.errors import GivenUp, OutOfMemory, SharingError
from ..common.memory.out_of_memory import is_out_of_memory
from ..dit.execution import Execution
from ..dit.model import Embedded
from ..dit.sharing import Trunk
from .exchange import Group, agree, tell
from .passes import run_shared

STOPPED = "Another device has stopped."
"""Where no more is known."""


@dataclass(slots=True)
class ManyDevices:
    """See `dit.sharing.Sharing`.

    Attributes:
        group: of these.
        why_broken: why another device has ended, in a sentence; nothing as long as none has.
    """

    group: Group
    why_broken: Callable[[], str] = str
    _is_over: bool = field(default=False, init=False)

    @property
    def devices(self) -> int:
        """See `Sharing.devices`."""
        return self.group.size

    @property
    def is_first(self) -> bool:
        """See `Sharing.is_first`."""
        return self.group.rank == 0

    @property
    def ranks(self) -> Group:
        """See `Sharing.ranks`."""
        return self.group

    def trunk(self, trunk: Trunk, passes: Sequence[Embedded], execution: Execution) -> list[Tensor]:
        """See `Sharing.trunk`."""
        with self._explained():
            return run_shared(trunk, passes, execution, self.group)

    def agree(self) -> None:
        """See `Sharing.agree`."""
        with self._explained():
            agree(self.group)

    def give_up(self) -> None:
        """See `Sharing.give_up`."""
        tell(self.group, GivenUp(is_memory=True))

    def any_of(self, own: bool) -> bool:
        """See `Sharing.any_of`."""
        with self._explained():
            return bool(self.group.largest(own))

    def is_same(self, own: int) -> bool:
        """See `Sharing.is_same`."""
        with self._explained():
            return self.group.largest(own) == -self.group.largest(-own)

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Inside, what ends the run of this device, and not of the others, is told to them."""
        try:
            yield
        except BaseException as error:  # a border: whatever it is, the others are not to wait for ever
            if not self._is_over:
                tell(self.group, error)
            raise

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """See `Sharing.explained`."""
        try:
            yield
        except GivenUp as told:
            self._is_over = True
            if told.is_memory:
                raise OutOfMemory(
                    "Another device has not enough memory for its part. Make a smaller video, or share it among fewer."
                ) from told
            raise SharingError(self.why_broken() or STOPPED) from told
        except RuntimeError as error:
            why = "" if is_out_of_memory(error) else self.why_broken()
            if not why:
                raise
            self._is_over = True
            raise SharingError(why) from error

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """As `explained`, of passes, which tell the others themselves; who has no memory is asked again."""
        self._is_over = True  # until it is known that all go on
        try:
            yield
            self._is_over = False
        except (RuntimeError, MemoryError) as error:  # an own one, or of an exchange with somebody who is gone
            self._is_over = not is_out_of_memory(error) and not (isinstance(error, GivenUp) and error.is_memory)
            if isinstance(error, GivenUp) and error.is_memory:
                raise
            if is_out_of_memory(error):
                raise GivenUp(is_memory=True) from error
            why = self.why_broken() or (STOPPED if isinstance(error, GivenUp) else "")
            if not why:
                raise
            raise SharingError(why) from error
