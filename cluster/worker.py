"""A worker: asks the queue for a job, makes it, puts its results into their place, and asks again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..common.errors import OutOfMemory, SharingError, WanDirectorError
from ..common.log import logger
from .client import QueueClient, Unreachable
from .folder import SharedFolder
from .jobs import ONE_SEAT, Leased, Seats

BEAT_S = 1.0
_WAIT_S, _AGAIN_S = 5, 1.0


class NoLonger(Exception):  # noqa: N818  (it is no error)
    """The work on a job was asked to stop."""


class Report(Protocol):
    """How far a job is, as whoever makes it tells."""

    def steps(self, reached: int) -> None:
        """So many steps are done, of all samplers together."""
        ...

    def words(self, said: str) -> None:
        """Where it is."""
        ...

    def picture(self, jpeg: bytes) -> None:
        """What it looks like."""
        ...


class Maker(Protocol):
    """Makes videos."""

    def make(self, job: Leased, output: Path, report: Report) -> None:
        """Makes a job's files in a folder.

        Raises:
            NoLonger: it was stopped.
            WanDirectorError: the graph is refused, or memory ran out.
        """
        ...

    def stop(self) -> None:
        """Ends the work under way as soon as it can be; from another thread."""
        ...

    def made(self) -> None:
        """What was made is in safety: what was kept to go on with it is not needed any more."""
        ...


@dataclass
class Worker:
    """See the module.

    Attributes:
        name: in the queue; that of one process at a time.
        client: the queue.
        folder: the shared one.
        maker: see `Maker`.
        seats: how many GPUs it has.
    """

    name: str
    client: QueueClient
    folder: SharedFolder
    maker: Maker
    seats: Seats = ONE_SEAT
    _ends: threading.Event = field(default_factory=threading.Event)
    _warm: str = ""

    def end(self) -> None:
        """Gives the job at hand back and ends; from another thread or a signal's handler."""
        self._ends.set()
        self.maker.stop()

    def work(self) -> None:
        """Until it is to end."""
        while not self._ends.is_set():
            asked = {"worker": self.name, "warm": self._warm, "wait_s": _WAIT_S, **self.seats._asdict()}
            answer = self._told("/worker/lease", asked)
            if answer is not None and answer["job"] is not None:
                self._do(Leased(**answer["job"]))

    def _do(self, job: Leased) -> None:
        logger.info("Job %s begins.", job.id)
        self._warm = job.model
        with self.folder.unfinished() as part:
            how = self._made(job, part)
        said = {"lease": job.lease, **how}
        while self._told(f"/worker/{job.id}/end", said) is None:  # the server is away: it is told when it is back
            if self._ends.is_set():
                return
        logger.info("Job %s: %s.", job.id, how["how"])

    def _made(self, job: Leased, part: Path) -> dict[str, Any]:
        """How the work on a job ended, as the server is told."""
        try:
            with self._beating(job) as beats:
                self.maker.make(job, part, beats)
            results = [list(each) for each in self.folder.publish(job.id, part)]
            self.maker.made()
            return {"how": "done", "results": results}
        except NoLonger:
            return {"how": "released"}
        except (OutOfMemory, SharingError, OSError) as error:  # another machine, or another time, may do better
            return {"how": "lost", "error": str(error)}
        except WanDirectorError as error:
            return {"how": "failed", "error": str(error)}
        except Exception as error:  # a border: a mistake of ours ends no worker
            logger.exception("Job %s could not be made.", job.id)
            return {"how": "lost", "error": f"{type(error).__name__}: {error}"}

    @contextlib.contextmanager
    def _beating(self, job: Leased) -> Iterator[_Beats]:
        beats = _Beats(self, job)
        thread = threading.Thread(target=beats.go, daemon=True)
        thread.start()
        try:
            yield beats
        finally:
            beats.over.set()
            thread.join()

    def _told(self, address: str, said: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return self.client.ask(address, said)
        except Unreachable:
            self._ends.wait(_AGAIN_S)
            return None


class _Beats:
    """Says how far a job is, now and then, and hears whether it is to go on."""

    def __init__(self, worker: Worker, job: Leased) -> None:
        self.over = threading.Event()
        self._worker, self._job = worker, job
        self._reached, self._said = 0, ""
        self._heard_s = time.monotonic()

    def steps(self, reached: int) -> None:
        self._reached = reached

    def words(self, said: str) -> None:
        self._said = said

    def picture(self, jpeg: bytes) -> None:
        self._worker.folder.show(self._job.id, jpeg)

    def go(self) -> None:
        while not self.over.wait(min(BEAT_S, self._job.span_s / 4)):
            said = {"lease": self._job.lease, "worker": self._worker.name, "reached": self._reached, "said": self._said}
            try:
                goes_on = self._worker.client.ask(f"/worker/{self._job.id}/beat", said)["goes_on"]
            except Unreachable:  # it goes on meanwhile: the result counts when the server is back
                continue
            if not goes_on:
                self._worker.maker.stop()
                return
