"""Where the devices of a machine are that could make a run together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from ...common.errors import InvalidInputError
from ...dit.sharing import ONE_DEVICE, Sharing
from ..resuming.kept import NO_RUNS_KEPT, RunsInFolder
from ..resuming.shared import RunsOfAnother
from ..runtime import Request, Runtime

if TYPE_CHECKING:
    from .crew import Crew

CPU_VARIABLE = "WAN_DIRECTOR_CPU_RANKS"
"""Set to 1 in a process's environment it lets processes on its CPU stand for GPUs: to try out what shares them."""


@dataclass
class Crews:
    """Who makes runs together with this process.

    Attributes:
        kept: is called with a crew that stays after a run.
    """

    kept: Callable[[Crew], None] = field(default=lambda _crew: None)
    _crew: Crew | None = None

    def check(self, count: int, device: torch.device, *, on_cpu: bool = False) -> None:
        """Refuses a number of devices that cannot be had beside `device`, this one included.

        Args:
            on_cpu: whether processes on the CPU may stand for GPUs, as `CPU_VARIABLE` says, too.

        Raises:
            InvalidInputError: it is so.
        """
        if count < 1:
            raise InvalidInputError(f"At least 1 GPU makes a run, got {count}. Choose 1, or more.")
        on_cpu |= os.environ.get(CPU_VARIABLE) == "1"
        there = 1 + len(self._others(device)) if device.type == "cuda" and _speak() else 0
        if count == 1 or (device.type == "cpu" and on_cpu) or 1 < count <= there:
            return
        found = f"{there} can be used here" if there else f"this run is on {device}"
        raise InvalidInputError(f"{count} GPUs are wanted, and {found}. Choose {max(there, 1)}.")

    @contextlib.contextmanager
    def sharing(self, request: Request, count: int, device: torch.device, runtime: Runtime) -> Iterator[Sharing]:
        """Inside, so many devices make the run of a request; one alone is no different from none.

        Args:
            count: checked.

        Raises:
            InvalidInputError: others cannot be told of the run.
            SharingError: another device has ended.
        """
        if count == 1 or (self._crew is not None and self._crew.is_at_work):  # in a work that is shared, one does this
            yield ONE_DEVICE
            return
        from .packing import packed  # these bring in what one device never needs

        runs = runtime.kept_runs
        asked = packed((request, RunsOfAnother(runs.folder) if isinstance(runs, RunsInFolder) else NO_RUNS_KEPT))
        crew = self._of(str(device), self._others(device, count - 1))
        with crew.sharing(asked, runtime, list(runtime.models)) as sharing:
            yield sharing
        self.kept(crew)

    def end(self) -> None:
        """Ends all processes, unless they are making a run."""
        if self._crew is not None and not self._crew.is_at_work:
            self._crew.end()

    def _of(self, own: str, others: list[str]) -> Crew:
        from .crew import Crew

        if self._crew is None or (self._crew.own, self._crew.others) != (own, tuple(others)):
            self.end()
            self._crew = Crew(own, others)
        return self._crew

    def _others(self, device: torch.device, count: int | None = None) -> list[str]:
        """The devices beside this one, the first ones if so many are enough."""
        if device.type == "cpu":
            return ["cpu"] * (count or 0)
        own = torch.cuda.current_device() if device.index is None else device.index
        return [f"cuda:{index}" for index in range(torch.cuda.device_count()) if index != own][:count]


def _speak() -> bool:
    """Whether this build of torch has what GPUs exchange by, which is for Linux alone."""
    return dist.is_available() and dist.is_nccl_available()
