"""`submit`, `status`, `cancel`, `again` and `fetch`: what a queue is asked."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from .....cluster.client import TOKEN, URL, USUAL_URL, QueueClient, patiently
from .....cluster.jobs import ENDED
from .....common.errors import ClusterError, InvalidInputError, MissingFileError
from ....hosts.command_line import HeadlessHost
from ...core_nodes import CORE_NODES
from ...graph import Graph, read_graph, set_value
from ...serving.asking import request_of, with_input_files
from ...serving.job_host import NotingHost
from ..bundled import workflow_path
from ..folders import input_folders
from ..prompt_lines import assignments, lines_of
from ..session import Session
from ..terminal import complain, say

_POLL_S = 1.0
_Read = tuple[Graph, "dict[str, Any] | None", str]


def client_of(options: argparse.Namespace) -> QueueClient:
    """The queue that the options and the environment name.

    Raises:
        InvalidInputError: there is no token.
        MissingFileError: its file is not there.
    """
    url, token = options.to or os.environ.get(URL) or USUAL_URL, os.environ.get(TOKEN, "")
    if options.token_file is not None:
        try:
            token = options.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise MissingFileError(
                f"The token in {options.token_file} cannot be read ({error.strerror or error}). It is the file `token` "
                "in the folder of the queue."
            ) from None
    if not token.isascii() or not token.isprintable() or not token:
        raise InvalidInputError(
            f"The queue wants a token, and there is none. Put it into {TOKEN}, or name the file `token` in the folder "
            "of the queue with --token-file."
        )
    return QueueClient(url, token)


def submit(options: argparse.Namespace, session: Session) -> None:
    """Queues a workflow, or one for each line of a file of prompts, and prints the jobs' ids."""
    client, classes = client_of(options), {**CORE_NODES, **session.nodes()}
    options.graph = workflow_path(options.graph)
    host = NotingHost(HeadlessHost(inputs=input_folders(options)))
    for graph, workflow, title in list(_workflows(options, classes)):  # all are read before the first is queued
        named, files = with_input_files(graph, classes, host)
        said = request_of(named, classes, workflow, options.title or title, options.priority)
        said["gpus"] = options.gpus
        say(_patiently(lambda said=said, files=files: client.submit(said, files))["id"])


def _workflows(options: argparse.Namespace, classes: dict[str, type]) -> Iterator[_Read]:
    lines = [None] if options.prompts is None else lines_of(options.prompts)
    for line in lines:
        graph, workflow = read_graph(options.graph, classes)
        for assignment in (*options.set, *(() if line is None else assignments(line, graph, classes))):
            set_value(graph, classes, assignment, workflow)
        yield graph, workflow, options.graph.stem if line is None else line.prompt


def _patiently(ask: Callable[[], Any]) -> Any:
    return patiently(ask, lambda: time.sleep(_POLL_S))


def status(options: argparse.Namespace, _session: Session) -> None:
    """Prints how far jobs are: those that are named, or the newest."""
    client = client_of(options)
    if options.ids:
        for id in options.ids:
            _show(client.job(id))
        return
    found = client.jobs(options.state or "", options.limit)
    for job in reversed(found["jobs"]):
        _show(job)
    counts = ", ".join(f"{count:,} {state}" for state, count in found["counts"].items() if count)
    workers = len(found["workers"])
    say(f"{counts or 'no jobs'}; {workers} worker{'' if workers == 1 else 's'}")


def _show(job: dict[str, Any]) -> None:
    when = datetime.fromtimestamp(job["submitted_s"]).strftime("%Y-%m-%d %H:%M")
    more = job["error"] if job["state"] in ("failed", "aside") else job["said"]
    gpus = f"{job['seat']} GPUs" if job["seat"] > 1 else ""
    say("  ".join(filter(None, (job["id"], job["state"], when, job["title"].replace("\n", " ")[:60], gpus, more))))


def cancel(options: argparse.Namespace, _session: Session) -> None:
    """Ends jobs."""
    client = client_of(options)
    for id in options.ids:
        _show(client.change(id, "cancel"))


def again(options: argparse.Namespace, _session: Session) -> None:
    """Queues jobs anew that have failed, were set aside or cancelled."""
    client = client_of(options)
    for id in options.ids:
        _show(client.change(id, "again"))


def fetch(options: argparse.Namespace, _session: Session) -> None:
    """Downloads what jobs have made, each into a folder of its id, and prints the paths."""
    client = client_of(options)
    for id in options.ids:
        job = _waited_for(client, id) if options.wait else client.job(id)
        if job["state"] != "done":
            raise ClusterError(f"Job {id} is {job['state']} and has no result{_what_now(job)}")
        for result in job["results"]:
            say(_patiently(lambda id=id, result=result: client.fetch(id, result, options.output / id)))


def _what_now(job: dict[str, Any]) -> str:
    if job["state"] not in ENDED:
        return ". --wait waits for its end."
    return f": {job['error']}" if job["error"] else ". `wan-director again` queues it anew."


def _waited_for(client: QueueClient, id: str) -> dict[str, Any]:
    said = ""
    while (job := _patiently(lambda: client.job(id)))["state"] not in ENDED:
        if job["said"] != said:
            said = job["said"]
            complain(f"{id}  {said}")
        time.sleep(_POLL_S)
    return job
