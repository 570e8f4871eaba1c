"""A process that makes runs with another one, on a device of its own: `wan-director member`.

It loads what a run needs by its recipes, keeps it for the next run, and ends with the process that has started it.
"""

from __future__ import annotations

import os
import queue
import sys
import traceback
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

import torch

from ...common.errors import WanDirectorError
from ...common.memory.out_of_memory import free_unused
from ...dit.sharing import ONE_DEVICE
from ...parallel.crew import Seat, joined
from ...parallel.sharing import STOPPED
from ..local import Interrupted, LocalRuntime
from ..resuming.kept import NO_RUNS_KEPT
from ..runtime import LoadedModels
from .listening import listen
from .messages import Ended, Go, Halt, Ready, RunRequest, write
from .packing import unpacked

Result = TypeVar("Result")


class KeptModels(LoadedModels):
    """Models that stay though nobody holds them, as long as whoever asks for them has them, too."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, load: Callable[[], Result]) -> Result:
        """See `LoadedModels.once`."""
        found = self._kept[key] = super().once(key, load)
        return found

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forgets all others."""
        self._kept = {key: model for key, model in self._kept.items() if key in keys}


@dataclass
class MemberRuntime(LocalRuntime):
    """See `LocalRuntime`.

    Attributes:
        kept: its models.
        number: of the run that is being made.
        stopped: of the newest that is not to be.
    """

    kept: KeptModels = field(default_factory=KeptModels)
    number: int = 0
    stopped: int = -1

    def __post_init__(self) -> None:
        self.models = self.kept

    def check_interrupt(self) -> None:
        if self.stopped >= self.number:
            raise Interrupted


class Member:
    """Carries out what it is asked for, run after run.

    Args:
        device: its own.
        told: what it is to do, in order; None at last.
        pipe: for what it has to say.
    """

    def __init__(self, device: str, told: queue.Queue[Any], pipe: BinaryIO) -> None:
        self.runtime = MemberRuntime(device)
        self._device, self._told, self._pipe = device, told, pipe

    def serve(self) -> None:
        """Until nobody asks any more."""
        while (message := self._told.get()) is not None:
            if isinstance(message, RunRequest):
                write(Ended(message.number, self._why_not(message)), self._pipe)

    def _why_not(self, ask: RunRequest) -> str:
        """Makes a run; says why it has not, or nothing."""
        try:
            with torch.inference_mode():
                self._make(ask)
        except Interrupted:
            return "stopped."
        except WanDirectorError as error:
            return str(error)
        except Exception as error:  # a border: whatever it is, the next run may go well
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"
        finally:
            self.runtime.sharing, self.runtime.kept_runs = ONE_DEVICE, NO_RUNS_KEPT
            free_unused()
        return ""

    def _make(self, ask: RunRequest) -> None:
        runtime = self.runtime
        runtime.number = ask.number
        runtime.kept.keep(ask.keys)
        runtime.check_interrupt()
        request, runtime.kept_runs = unpacked(ask.data, runtime)
        ready = request()
        write(Ready(ask.number), self._pipe)
        go = self._told.get()
        if not isinstance(go, Go):
            return
        torch.set_num_threads(go.threads)
        with joined(Seat(go.rank, go.ranks, go.meeting), self._device, STOPPED.__str__) as shared, shared.ending():
            runtime.sharing = shared
            ready.join()


def serve(device: str) -> None:
    """The whole life of such a process: what it is told comes over standard input, and what it says goes to standard
    output, which is nobody else's."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes where errors go
    told: queue.Queue[Any] = queue.Queue()
    member = Member(device, told, pipe)

    def heard(message: Any) -> None:
        if message is None:
            os._exit(0)  # whoever has started it is gone, and what it computes is for nobody
        if isinstance(message, Halt):
            member.runtime.stopped = message.number
        told.put(message)

    listen(sys.stdin.buffer, heard)
    member.serve()
