"""The queue: every job is in one state, and what changes it is on the disk before anybody hears of it.

    queued -> running -> done | failed | cancelled
       ^         |
       +---------+-> aside      its worker was lost too often without having got any further

A job is handed out for a span that its worker prolongs by saying how far it is. It is made at least once, and its
result counts once.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..common.errors import InvalidInputError
from ..common.records import record
from .jobs import ENDED, ONE_SEAT, STATES, JobState, Leased, Request, ResultFile, Seats, VideoJob
from .tables import COLUMNS, as_job, open_tables, transaction

_OF_JOB = f"SELECT {', '.join(COLUMNS)} FROM jobs"
_LONGEST_SAID, _LONGEST_ERROR = 200, 2000
_LONGEST_WAIT_S = 300.0


@record
class Rules:
    """How the queue deals with jobs.

    Attributes:
        span_s: how long a worker may be silent.
        tries: so many workers in a row may be lost over a job without having got further; then it is set aside.
        pause_s: how long a job waits after the first of them; twice as long after each more.
        patience_s: a worker takes jobs of the model that it has first, unless one of another model waits for so long.
    """

    span_s: float = 60.0
    tries: int = 3
    pause_s: float = 5.0
    patience_s: float = 600.0


class _Waiting(NamedTuple):
    """A job that waits."""

    number: int
    priority: int
    submitted_s: float
    model: str
    seat: int

    @property
    def rank(self) -> tuple[int, int]:
        """The smaller, the sooner it comes."""
        return -self.priority, self.number


@dataclass(slots=True)
class _Watch:
    """What is known of a job that runs, and forgotten with this process."""

    lease: str
    worker: str
    until_s: float
    reached: int = 0
    said: str = ""


@dataclass
class JobQueue:
    """Jobs in a file of this process alone; any of its threads may ask.

    Attributes:
        path: of the file.
        rules: see there.
        clock: in seconds since 1970.
    """

    path: Path
    rules: Rules = Rules()
    clock: Callable[[], float] = time.time
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))

    def __post_init__(self) -> None:
        self._database = open_tables(self.path)
        rows = self._database.execute("SELECT id, lease, worker, reached, said FROM jobs WHERE state = 'running'")
        # Their workers may go on without knowing that the server was away.
        until_s = self.clock() + self.rules.span_s
        self._watches = {id: _Watch(lease, worker, until_s, *rest) for id, lease, worker, *rest in rows}

    def close(self) -> None:
        """Gives the file to others."""
        with self.changed:
            self._database.close()

    def submit(self, request: Request) -> VideoJob:
        """The job of a request: a new one, or that of an earlier request with its key."""
        content = json.dumps(
            [request.prompt, request.workflow, dict(request.files), request.gpus], separators=(",", ":")
        )
        with self.changed, transaction(self._database) as database:
            found = database.execute(f"{_OF_JOB} WHERE key = ?", (request.key,)).fetchone()
            if found is not None:
                return self._seen(as_job(found))
            id, title = secrets.token_hex(8), request.title[:_LONGEST_SAID]
            number = database.execute(
                "INSERT INTO jobs (id, key, state, title, model, priority, submitted_s, seat) "
                "VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
                (id, request.key, title, request.model, request.priority, self.clock(), request.seat),
            ).lastrowid
            database.execute("INSERT INTO requests VALUES (?, ?)", (number, content))
            used = [(digest, number) for digest in set(request.files.values())]
            database.executemany("INSERT INTO used_files VALUES (?, ?)", used)
            self.changed.notify_all()
        return self.job(id)

    def job(self, id: str) -> VideoJob:
        """A job by its name.

        Raises:
            InvalidInputError: there is none.
        """
        with self.changed:
            row = self._database.execute(f"{_OF_JOB} WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise InvalidInputError(
                    f"There is no job {id[:40]!r}, or not any more. `wan-director status` lists the newest."
                )
            return self._seen(as_job(row))

    def jobs(self, state: JobState | None = None, limit: int = 100, before: str = "") -> list[VideoJob]:
        """Jobs, the newest first.

        Args:
            state: of all of them.
            limit: how many.
            before: only those that came before the job of this name.
        """
        which, values = ["1"], []
        if state is not None:
            which, values = ["state = ?"], [state]
        if before:
            which.append("number < (SELECT number FROM jobs WHERE id = ?)")
            values.append(before)
        asked = f"{_OF_JOB} WHERE {' AND '.join(which)} ORDER BY number DESC LIMIT ?"
        with self.changed:
            return [self._seen(as_job(row)) for row in self._database.execute(asked, (*values, limit))]

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        with self.changed:
            found = dict(self._database.execute("SELECT state, jobs FROM counts"))
        return {state: found.get(state, 0) for state in STATES}

    def lease(self, worker: str, warm: str = "", seats: Seats = ONE_SEAT) -> Leased | None:
        """Hands the next job to a worker; None where none waits.

        A worker has one job at a time: when it asks, one that it still seems to have was lost.

        Args:
            worker: its name.
            warm: the model that it has in memory, see `Request.model`.
            seats: what it has.
        """
        with self.changed:
            for id in [id for id, watch in self._watches.items() if watch.worker == worker]:
                self._lose(id, "its process ended")
            now_s = self.clock()
            with transaction(self._database) as database:
                number = self._next(warm, seats, now_s)
                if number is None:
                    return None
                lease = secrets.token_hex(16)
                database.execute(
                    "UPDATE jobs SET state = 'running', worker = ?, lease = ?, attempts = attempts + 1, "
                    "started_s = CASE started_s WHEN 0 THEN ? ELSE started_s END WHERE number = ?",
                    (worker, lease, now_s, number),
                )
                id, model, reached, content = database.execute(
                    "SELECT id, model, reached, content FROM jobs JOIN requests USING (number) WHERE number = ?",
                    (number,),
                ).fetchone()
            self._watches[id] = _Watch(lease, worker, now_s + self.rules.span_s, reached)
        prompt, workflow, files, *gpus = json.loads(content)
        return Leased(id, lease, model, prompt, workflow, files, self.rules.span_s, *gpus)

    def beat(self, id: str, lease: str, reached: int, said: str) -> bool:
        """A worker says how far a job is; whether it is to go on."""
        with self.changed:
            watch = self._held(id, lease)
            if watch is None:
                return False
            watch.until_s = self.clock() + self.rules.span_s
            watch.reached, watch.said = max(watch.reached, reached), said[:_LONGEST_SAID]
            return True

    def done(self, id: str, lease: str, results: Sequence[ResultFile]) -> bool:
        """A worker has put the results of a job into their place; whether they count.

        Those of a worker that was thought lost count, too, if no other was faster: they are the same.
        """
        with self.changed:
            job = self.job(id)
            if job.state not in ("queued", "running"):
                return job.state == "done"
            written = json.dumps([list(each) for each in results])
            self._end(id, "done", "", results=written)
            return True

    def failed(self, id: str, lease: str, error: str) -> bool:
        """The graph of a job is refused, as it always will be; whether that counts."""
        with self.changed:
            if self._held(id, lease) is None:
                return False
            self._end(id, "failed", error)
            return True

    def lost(self, id: str, lease: str, error: str) -> bool:
        """The work on a job ended as it should not, and may do better another time; whether that counts."""
        with self.changed:
            if self._held(id, lease) is None:
                return False
            self._lose(id, error)
            return True

    def released(self, id: str, lease: str) -> bool:
        """A worker that is to end gives a job back, which is not the job's fault; whether that counts."""
        with self.changed:
            watch = self._held(id, lease)
            if watch is None:
                return False
            self._back(id, watch, strikes=self.job(id).strikes, error="", pause_s=0.0)
            return True

    def cancel(self, id: str) -> VideoJob:
        """Ends a job that has not ended; its worker hears of it when it next says how far it is."""
        with self.changed:
            if self.job(id).state not in ENDED:
                self._end(id, "cancelled", "")
            return self.job(id)

    def again(self, id: str) -> VideoJob:
        """Queues a job anew that has failed, was set aside or was cancelled.

        Raises:
            InvalidInputError: it is in another state.
        """
        with self.changed:
            job = self.job(id)
            if job.state not in ("failed", "aside", "cancelled"):
                raise InvalidInputError(
                    f"The job is {job.state}. Only one that has failed, is aside or was cancelled is queued anew."
                )
            with transaction(self._database) as database:
                database.execute(
                    "UPDATE jobs SET state = 'queued', strikes = 0, error = '', ended_s = 0, not_before_s = 0 "
                    "WHERE id = ?",
                    (id,),
                )
            self.changed.notify_all()
            return self.job(id)

    def expire(self) -> int:
        """Takes the jobs of workers that were silent for too long; how many there were."""
        with self.changed:
            now_s = self.clock()
            late = [id for id, watch in self._watches.items() if watch.until_s <= now_s]
            for id in late:
                self._lose(id, "its worker was not heard of any more")
            return len(late)

    def forget(self, before_s: float, limit: int = 100) -> list[str]:
        """Forgets jobs that ended before a time; their names. Their results are then to be removed."""
        with self.changed, transaction(self._database) as database:
            asked = "SELECT id FROM jobs WHERE ended_s > 0 AND ended_s < ? ORDER BY ended_s LIMIT ?"
            found = [id for (id,) in database.execute(asked, (before_s, limit))]
            database.executemany("DELETE FROM jobs WHERE id = ?", [(id,) for id in found])
        return found

    def uses(self, digest: str) -> bool:
        """Whether a job needs the file of this digest."""
        with self.changed:
            asked = "SELECT 1 FROM used_files WHERE digest = ? LIMIT 1"
            return self._database.execute(asked, (digest,)).fetchone() is not None

    def running(self) -> Iterator[tuple[str, str]]:
        """(worker, id) of the jobs that run."""
        with self.changed:
            return iter([(watch.worker, id) for id, watch in self._watches.items()])

    def front(self, most: int) -> int:
        """How many GPUs the job has to have whose turn it is among those that need no more than `most`; 0: none waits.

        That of the highest priority, and of these the oldest.
        """
        with self.changed:
            front = self._first(self._up_to(most), self.clock())
            return 0 if front is None else front.seat

    def awaited(self) -> list[int]:
        """How many GPUs those jobs have to have that wait, each number once, in order."""
        asked, found, seat = "SELECT min(seat) FROM jobs INDEXED BY waiting WHERE state = 'queued' AND seat > ?", [], 0
        with self.changed:
            while (seat := self._database.execute(asked, (seat,)).fetchone()[0]) is not None:
                found.append(seat)
        return found

    def _up_to(self, most: int) -> list[int]:
        return [seat for seat in self.awaited() if seat <= most]

    def _next(self, warm: str, seats: Seats, now_s: float) -> int | None:
        """The number of the job that comes next: of the highest priority that waits, of the model at hand if there is
        one, else the oldest. Whoever is there for jobs of many GPUs gives way to others as one model does to another.
        """
        front = self._first(self.awaited() if seats.is_kept else self._up_to(seats.gpus), now_s)
        if front is None:
            return None
        fitting = [seats.gpus] if seats.is_kept else self._up_to(seats.gpus)
        if now_s - front.submitted_s <= self.rules.patience_s:
            same = self._first(fitting, now_s, "waiting_for_model", (front.priority, warm)) if warm else None
            front = same or self._first(fitting, now_s, "waiting", (front.priority,))
        return front.number if front is not None and front.seat in fitting else None

    def _first(
        self, seats: Iterable[int], now_s: float, index: str = "waiting", same: tuple[Any, ...] = ()
    ) -> _Waiting | None:
        """Of the jobs of some numbers of GPUs the one that comes first; `same`: only of this priority, and model."""
        which = "".join(("AND priority = ? ", "AND model = ? ")[: len(same)])
        # SQLite by itself takes the index of all states and sorts: 100 ms with 100,000 jobs, and not 0.1.
        asked = (
            f"SELECT number, priority, submitted_s, model, seat FROM jobs INDEXED BY {index} WHERE seat = ? {which}"
            "AND state = 'queued' AND not_before_s <= ? ORDER BY priority DESC, number LIMIT 1"
        )
        rows = (self._database.execute(asked, (seat, *same, now_s)).fetchone() for seat in seats)
        return min((_Waiting(*row) for row in rows if row is not None), key=lambda each: each.rank, default=None)

    def _held(self, id: str, lease: str) -> _Watch | None:
        watch = self._watches.get(id)
        return watch if watch is not None and secrets.compare_digest(watch.lease.encode(), lease.encode()) else None

    def _seen(self, job: VideoJob) -> VideoJob:
        """A job with what its worker has said of late."""
        watch = self._watches.get(job.id)
        return job if watch is None else replace(job, reached=watch.reached, said=watch.said)

    def _lose(self, id: str, why: str) -> None:
        """A job's worker is gone. One that got further than any before it is no sign that the job is to blame."""
        watch, job = self._watches[id], self._stored(id)
        strikes = (0 if watch.reached > job.reached else job.strikes) + 1
        if strikes >= self.rules.tries:
            self._end(id, "aside", f"Set aside: {strikes} workers in a row were lost over it. The last time {why}.")
            return
        pause_s = min(self.rules.pause_s * 2 ** (strikes - 1), _LONGEST_WAIT_S)
        self._back(id, watch, strikes=strikes, error=why, pause_s=pause_s)

    def _stored(self, id: str) -> VideoJob:
        return as_job(self._database.execute(f"{_OF_JOB} WHERE id = ?", (id,)).fetchone())

    def _back(self, id: str, watch: _Watch, *, strikes: int, error: str, pause_s: float) -> None:
        with transaction(self._database) as database:
            database.execute(
                "UPDATE jobs SET state = 'queued', lease = '', strikes = ?, error = ?, not_before_s = ?, reached = ?, "
                "said = '' WHERE id = ?",
                (strikes, error[:_LONGEST_ERROR], self.clock() + pause_s, watch.reached, id),
            )
        del self._watches[id]
        self.changed.notify_all()

    def _end(self, id: str, state: JobState, error: str, results: str = "[]") -> None:
        watch = self._watches.get(id)
        reached = 0 if watch is None else watch.reached
        with transaction(self._database) as database:
            database.execute(
                "UPDATE jobs SET state = ?, error = ?, lease = '', said = '', reached = max(reached, ?), results = ?, "
                "ended_s = ? WHERE id = ?",
                (state, error[:_LONGEST_ERROR], reached, results, self.clock(), id),
            )
        self._watches.pop(id, None)
        self.changed.notify_all()
