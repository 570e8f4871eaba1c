"""The processes on other devices that make runs with this one: started when they are first needed, kept for the next
run, and ended with this process, whatever becomes of it."""

from __future__ import annotations

import atexit
import contextlib
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Hashable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from ...common.errors import SharingError
from ...common.log import logger
from ...dit.sharing import Sharing
from ...parallel.crew import Seat, joined, last_words
from ...parallel.sharing import STOPPED
from ..progress import Counted
from ..runtime import Runtime
from .listening import listen
from .messages import Ended, Go, Halt, Ready, RunRequest, write
from .packing import PackedRun

_PACK = Path(__file__).absolute().parents[2]
_LOOKS_S = 0.05
_PATIENCE_S = 20.0
"""How long the others have to end a run that has ended here."""


class CrewMember:
    """One of the other processes, as this one sees it."""

    def __init__(self, device: str, log: Path) -> None:
        self.device, self._log = device, log
        self._said: queue.Queue[Any] = queue.Queue()
        self.is_gone = False
        command = [sys.executable, str(_PACK), "member", "--device", device]
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,  # Ctrl-C in a terminal is for this process, which then ends the others
            )
        listen(self._pipe(self._process.stdout), self._said.put)

    def tell(self, message: Any) -> None:
        """Says it, if anybody hears."""
        try:
            write(message, self._pipe(self._process.stdin))
        except (OSError, ValueError):
            self.is_gone = True

    def heard(self, wait_s: float) -> Any | None:
        """What it says next, if that comes in time."""
        try:
            message = self._said.get(timeout=wait_s)
        except queue.Empty:
            return None
        if message is None:
            self.is_gone = True
        return message

    def last_words(self) -> str:
        """Why it has ended."""
        return last_words(self._log, self._process.wait(_PATIENCE_S))

    def end(self) -> None:
        """Ends it at once, and frees what it has."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                self._pipe(pipe).close()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> Any:
        assert pipe is not None, "it was asked for"
        return pipe


class Crew:
    """See the module. The processes of a crew take part in one run at a time.

    Args:
        own: the device of this process.
        others: those of the others.

    Attributes:
        own, others: the same.
        is_at_work: whether a run is being made.
    """

    def __init__(self, own: str, others: Sequence[str]) -> None:
        self.others = tuple(others)
        self.is_at_work = False
        self.own = own
        self._folder = Path(tempfile.mkdtemp(prefix="wan-director-"))
        self._run = 0
        self._members: list[CrewMember] = []
        self._why: dict[int, str] = {}
        self._ended: set[int] = set()
        atexit.register(self.end)

    @contextlib.contextmanager
    def sharing(self, request: PackedRun, runtime: Runtime, keys: Collection[Hashable]) -> Iterator[Sharing]:
        """Inside, the others make the run of a request with this process.

        Args:
            request: packed: a function that gives the run, and the runs that it may go on from.
            runtime: of this process.
            keys: of the models that this process has in memory, which the others keep, too.

        Raises:
            SharingError: one of them has ended, or could not get ready.
        """
        self._run += 1
        self._why, self._ended = {}, set()
        self.is_at_work = True
        try:
            self._start()
            self._ask(request, keys)
            self._await_ready(runtime)
            seat = self._go()
            with joined(seat, self.own, self._why_broken) as shared, shared.ending():
                yield shared
        except BaseException as error:  # a border: the others are to be free again, or gone
            self._tell_all(Halt(self._run))
            if isinstance(error, SharingError) or not self._settles():
                self.end()
            raise
        else:
            if not self._settles():
                self.end()
        finally:
            self.is_at_work = False

    def end(self) -> None:
        """Ends all of them; the next run starts others."""
        for member in self._members:
            member.end()
        self._members = []
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        if self._members:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for rank, device in enumerate(self.others, start=1):
            self._members.append(CrewMember(device, self._folder / f"{rank}.log"))
        logger.info("%d processes share the run, on %s.", len(self.others) + 1, ", ".join((self.own, *self.others)))

    def _ask(self, request: PackedRun, keys: Collection[Hashable]) -> None:
        self._tell_all(RunRequest(self._run, request.data, request.keys.union(keys)))

    def _tell_all(self, message: Any) -> None:
        for member in self._members:
            member.tell(message)

    def _await_ready(self, runtime: Runtime) -> None:
        """Until all have loaded what they need.

        Raises:
            SharingError: one of them cannot.
        """
        waiting = dict(enumerate(self._members, start=1))
        with runtime.progress(Counted("Getting other devices ready", "device", len(waiting))) as progress:
            while waiting:
                runtime.check_interrupt()
                waiting = {rank: member for rank, member in waiting.items() if not self._is_ready(rank, member)}
                progress.update(len(self._members) - len(waiting))
                if self._why:
                    raise SharingError(self._sentence())

    def _is_ready(self, rank: int, member: CrewMember) -> bool:
        message = self._heard(rank, member, _LOOKS_S)
        return isinstance(message, Ready) and message.number == self._run

    def _go(self) -> Seat:
        ranks, meeting = len(self._members) + 1, self._folder / f"meeting_{self._run}"
        meeting.unlink(missing_ok=True)
        for rank, member in enumerate(self._members, start=1):
            member.tell(Go(self._run, rank, ranks, meeting, torch.get_num_threads()))
        return Seat(0, ranks, meeting)

    def _heard(self, rank: int, member: CrewMember, wait_s: float) -> Any | None:
        """What a member says next; why it ended the run is noted."""
        message = member.heard(wait_s)
        if member.is_gone:
            self._why.setdefault(rank, member.last_words())
        elif isinstance(message, Ended) and message.number == self._run:
            self._ended.add(rank)
            if message.why not in ("", STOPPED):  # as it was told, and others may know more
                self._why.setdefault(rank, message.why)
        return message

    def _why_broken(self) -> str:
        """A sentence on a member that has ended the run; nothing where none has."""
        until = time.monotonic() + _PATIENCE_S / 2
        while not self._why and time.monotonic() < until:
            for rank, member in enumerate(self._members, start=1):
                self._heard(rank, member, _LOOKS_S)
        return self._sentence() if self._why else ""

    def _sentence(self) -> str:
        rank = min(self._why)
        return f"Device {rank} of {len(self._members) + 1} has ended: {self._why[rank]}"

    def _settles(self) -> bool:
        """Whether all members have come to the end of the run in time."""
        until = time.monotonic() + _PATIENCE_S
        for rank, member in enumerate(self._members, start=1):
            while rank not in self._ended:
                if self._heard(rank, member, max(0.0, until - time.monotonic())) is None:
                    return False
        return True
