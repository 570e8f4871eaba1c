"""What the server of a queue does for those who ask for videos, and for those who make them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..common.errors import InvalidInputError
from ..common.log import logger
from .capacity import Capacity
from .folder import SharedFolder, checked_name
from .jobs import MOST_GPUS, PRIORITIES, STATES, JobState, Request, ResultFile, Seats, VideoJob
from .queue import JobQueue

LONGEST_WAIT_S = 25.0
"""A worker's question for a job is answered at the latest after so long."""
MOST_FILES, MOST_SHOWN = 200, 500
_UNUSED_S = 24 * 3600.0


class Checked(NamedTuple):
    """A graph that can be run.

    Attributes:
        prompt: in the server's format, with its defaults filled in.
        model: what is the same for graphs that use the same model files.
        gpus: that the graph itself wants to make a run together.
    """

    prompt: Mapping[str, Any]
    model: str
    gpus: int = 1


CheckPrompt = Callable[[Mapping[str, Any], Mapping[str, Path]], Checked]
"""Checks a graph, given the input files by their names in it; raises `WanDirectorError` where it refuses it."""


class MissingInputs(Exception):  # noqa: N818  (it asks for them)
    """Input files of a request that are to be sent first, by their digests."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__(f"{len(digests)} input files are to be sent first.")
        self.digests = digests


@dataclass
class Desk:
    """See the module.

    Attributes:
        folder: the shared one.
        queue: the jobs.
        check: see `CheckPrompt`.
        keep_s: how long jobs and results are kept after their end.
        patient: false once the server is to end: then nobody waits for a job.
        capacity: who makes jobs.
    """

    folder: SharedFolder
    queue: JobQueue
    check: CheckPrompt
    keep_s: float = 7 * 24 * 3600.0
    patient: bool = True
    capacity: Capacity = field(default_factory=Capacity)

    def submit(self, asked: Mapping[str, Any]) -> VideoJob:
        """Queues a job.

        Raises:
            MissingInputs: files are to be sent first.
            WanDirectorError: the request, or its graph, is refused.
        """
        request = _request(asked)
        missing = [digest for digest in request.files.values() if not self.folder.file(digest).is_file()]
        if missing:
            raise MissingInputs(missing)
        checked = self.check(request.prompt, self.folder.inputs(request.files))
        seat = request.gpus if request.gpus > 1 else checked.gpus
        self.capacity.check(seat)
        return self.queue.submit(replace(request, prompt=checked.prompt, model=checked.model, seat=seat))

    def listed(self, state: str, limit: int, before: str) -> dict[str, Any]:
        """Jobs, how many there are in each state, and the workers."""
        known: JobState | None = next((each for each in STATES if each == state), None)
        if state and known is None:
            raise InvalidInputError(f"There are no jobs that are {state[:40]!r}. Choose one of: {', '.join(STATES)}.")
        if not 1 <= limit <= MOST_SHOWN:
            raise InvalidInputError(
                f"1 to {MOST_SHOWN} jobs are listed at a time, got {limit}. Ask for the rest after."
            )
        jobs = self.queue.jobs(known, limit, before)
        busy = dict(self.queue.running())
        workers = [{"name": name, "job": busy.get(name, "")} for name in self.capacity.workers()]
        return {"jobs": [self.told(job) for job in jobs], "counts": self.queue.counts(), "workers": workers}

    def told(self, job: VideoJob) -> dict[str, Any]:
        """A job as those who ask are told of it."""
        waits = job.state == "queued" and self.capacity.is_beyond(job.seat)
        job = replace(job, said=f"Waits for a machine with {job.seat} GPUs") if waits else job
        return {**asdict(job), "results": [result._asdict() for result in job.results]}

    def result(self, id: str, name: str) -> Path:
        """The file of a job's result.

        Raises:
            InvalidInputError: it has none of that name.
        """
        if name not in [result.name for result in self.queue.job(id).results]:
            raise InvalidInputError("The job has no result of this name. Its entry in the list has their names.")
        return self.folder.result(id, name)

    def lease(self, said: Mapping[str, Any], is_there: Callable[[], bool]) -> dict[str, Any] | None:
        """The next job for a worker, for which it waits if there is none; None after that.

        Args:
            said: its name, `warm`, `gpus` and `is_kept` (see `JobQueue.lease`), and how long it waits.
            is_there: whether it still waits: nothing is handed to one that has gone.
        """
        worker, warm, wait_s = _text(said, "worker")[:100], _text(said, "warm"), _number(said, "wait_s")
        seats = Seats(max(1, _number(said, "gpus", 1)), said.get("is_kept") is True)
        until_s = time.monotonic() + max(0.0, min(wait_s, LONGEST_WAIT_S))
        while True:
            if not is_there():
                return None
            self.capacity.heard(worker, seats.gpus)
            with self.queue.changed:
                leased = None if self.capacity.is_leaving(worker) else self.queue.lease(worker, warm, seats)
                left_s = until_s - time.monotonic()
                if leased is not None or left_s <= 0 or not self.patient:
                    return None if leased is None else leased._asdict()
                self.queue.changed.wait(min(left_s, 1.0))

    def beat(self, id: str, lease: str, said: Mapping[str, Any]) -> bool:
        """See `JobQueue.beat`."""
        self.capacity.heard(_text(said, "worker")[:100])
        return self.queue.beat(id, lease, _number(said, "reached"), _text(said, "said"))

    def end(self, id: str, lease: str, said: Mapping[str, Any]) -> bool:
        """A worker says how its work on a job ended; whether that counts."""
        how, error = _text(said, "how"), _text(said, "error")
        if how == "done":
            results = [
                ResultFile(checked_name(str(name)), int(size), str(digest)) for name, size, digest in said["results"]
            ]
            counts = self.queue.done(id, lease, results)
            if not counts:
                self.folder.remove(id)
            return counts
        if how == "released":
            return self.queue.released(id, lease)
        if how not in ("failed", "lost"):
            raise InvalidInputError(f"Work ends done, failed, lost or released, got {how[:40]!r}.")
        return self.queue.failed(id, lease, error) if how == "failed" else self.queue.lost(id, lease, error)

    def places(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What whoever gives workers their places has to know; see `seats.Demand`.

        Args:
            said: `largest`, how many GPUs the largest machine has, and `leaving`, the workers that get no more jobs.
        """
        largest, leaving = _number(said, "largest"), said.get("leaving", [])
        if not isinstance(leaving, list):
            raise InvalidInputError("leaving is a list of workers. Send one.")
        with self.queue.changed:
            self.capacity.told(largest, map(str, leaving))
            busy = [worker for worker, _ in self.queue.running()]
            return {"busy": busy, "front": self.queue.front(largest), "awaited": self.queue.awaited()}

    def tidy(self) -> None:
        """Takes jobs from workers that are silent, and forgets those that have gone."""
        self.queue.expire()
        self.capacity.tidy()

    def forget(self) -> int:
        """Removes what has been kept for long enough; how many jobs that were."""
        forgotten = self.queue.forget(time.time() - self.keep_s)
        for id in forgotten:
            self.folder.remove(id)
        for file in self.folder.unused(self.queue.uses, _UNUSED_S):
            file.unlink(missing_ok=True)
        if forgotten:
            logger.info("%d jobs that ended long ago were removed with their results.", len(forgotten))
        return len(forgotten)


def _request(asked: Mapping[str, Any]) -> Request:
    prompt, workflow, files = asked.get("prompt"), asked.get("workflow"), asked.get("files", {})
    key, priority, gpus = _text(asked, "key"), _number(asked, "priority"), _number(asked, "gpus", 1)
    if not isinstance(prompt, dict) or not (workflow is None or isinstance(workflow, dict)):
        raise InvalidInputError("A request has a prompt, a graph in ComfyUI's API format. Send one.")
    if not isinstance(files, dict) or not all(isinstance(each, str) for each in files.values()):
        raise InvalidInputError("files of a request are digests by name. Send them as such.")
    if len(files) > MOST_FILES:
        raise InvalidInputError(f"A job has {MOST_FILES} input files at most, got {len(files)}. Leave some out.")
    if not 8 <= len(key) <= 100:
        raise InvalidInputError("key of a request has 8 to 100 letters of your choice. Send another one for each job.")
    if not PRIORITIES[0] <= priority <= PRIORITIES[1]:
        raise InvalidInputError(f"priority is from {PRIORITIES[0]} to {PRIORITIES[1]}, got {priority}.")
    if not 1 <= gpus <= MOST_GPUS:
        raise InvalidInputError(f"A job has 1 to {MOST_GPUS} GPUs, got {gpus}. Ask for as many as one machine has.")
    named = {checked_name(name): digest for name, digest in files.items()}
    return Request(key, prompt, workflow, named, _text(asked, "title"), "", priority, gpus)


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is a text. Send one.")
    return value.encode("utf-8", "replace").decode("utf-8")


def _number(said: Mapping[str, Any], name: str, usual: int = 0) -> int:
    value = said.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 1 << 53:
        raise InvalidInputError(f"{name} is a whole number. Send one.")
    return value
