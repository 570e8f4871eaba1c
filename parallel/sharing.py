"""The devices of a group as those that share a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..common.errors import SharingError
from ..common.out_of_memory import is_out_of_memory
from ..dit.execution import Execution
from ..dit.model import Embedded
from ..dit.sharing import Trunk
from .exchange import Group
from .passes import run_shared


@dataclass(frozen=True, slots=True)
class ManyDevices:
    """See `dit.sharing.Sharing`.

    Attributes:
        group: of these.
        why_broken: why another device has ended, in a sentence; nothing as long as none has.
    """

    group: Group
    why_broken: Callable[[], str] = str

    @property
    def devices(self) -> int:
        """See `Sharing.devices`."""
        return self.group.size

    def trunk(self, trunk: Trunk, passes: Sequence[Embedded], execution: Execution) -> list[Tensor]:
        """See `Sharing.trunk`."""
        try:
            return run_shared(trunk, passes, execution, self.group)
        except RuntimeError as error:  # of an exchange with somebody who is gone
            why = "" if is_out_of_memory(error) else self.why_broken()
            if not why:
                raise
            raise SharingError(why) from error
