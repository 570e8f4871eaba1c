"""What a job is: a graph to be run once, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, NamedTuple, TypeAlias

from ..common.records import record

JobState: TypeAlias = Literal["queued", "running", "done", "failed", "aside", "cancelled"]
STATES: tuple[JobState, ...] = ("queued", "running", "done", "failed", "aside", "cancelled")
ENDED: frozenset[JobState] = frozenset({"done", "failed", "aside", "cancelled"})
"""Of these nothing comes any more by itself. `aside`: workers were lost over it again and again."""
PRIORITIES = (-100, 100)
MOST_GPUS = 64
"""That a job may ask for."""


class ResultFile(NamedTuple):
    """A file that a job has made.

    Attributes:
        name: its path inside the job's folder of results, with forward slashes.
        size: in bytes.
        sha256: of its contents.
    """

    name: str
    size: int
    sha256: str


@record
class Request:
    """What somebody wants made.

    Attributes:
        key: chosen by whoever asks; a second request of the same key is the first one.
        prompt: the graph in the server's format.
        workflow: the same in the canvas's format, which saved files carry.
        files: names of input files -> the digests of their contents.
        title: for people.
        model: what is the same for jobs that use the same model files.
        priority: those with a higher one come first.
        gpus: that make the video together, as `run --gpus` has them; 1 leaves it to the graph.
        seat: how many GPUs of one machine whoever makes it has to have, at least.
    """

    key: str
    prompt: Mapping[str, Any]
    workflow: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    model: str = ""
    priority: int = 0
    gpus: int = 1
    seat: int = 1


@record
class VideoJob:
    """A job as the queue knows it.

    Attributes:
        id: its name in the queue.
        state: see `JobState`.
        title, model, priority, seat: see `Request`.
        attempts: how often it was handed out.
        strikes: how many workers in a row were lost over it without having got any further.
        reached: the steps that are done, of all its samplers together.
        said: where it is, in words.
        error: why it failed or was set aside.
        worker: who has it, or had it last.
        submitted_s, started_s, ended_s: in seconds since 1970; 0 where it has not come to that.
        results: the files that it has made.
    """

    id: str
    state: JobState
    title: str
    model: str
    priority: int
    attempts: int = 0
    strikes: int = 0
    reached: int = 0
    said: str = ""
    error: str = ""
    worker: str = ""
    submitted_s: float = 0.0
    started_s: float = 0.0
    ended_s: float = 0.0
    seat: int = 1
    results: tuple[ResultFile, ...] = ()


class Leased(NamedTuple):
    """A job that is handed to a worker.

    Attributes:
        id: the job's.
        lease: what the worker shows with all that it says of it.
        model: see `Request`.
        prompt, workflow, files, gpus: see there.
        span_s: when the worker says nothing for so long, the job goes to another.
    """

    id: str
    lease: str
    model: str
    prompt: Mapping[str, Any]
    workflow: Mapping[str, Any] | None
    files: Mapping[str, str]
    span_s: float
    gpus: int = 1


class Seats(NamedTuple):
    """Which jobs a worker takes.

    Attributes:
        gpus: that it has: of those that need no more.
        is_kept: whether it is there for those that need so many, and for no others.
    """

    gpus: int = 1
    is_kept: bool = False


ONE_SEAT = Seats()
