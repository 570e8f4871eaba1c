"""`serve` and `work`: the queue's server, and those who make its videos."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from .....cluster.client import QueueClient
from .....cluster.desk import Desk
from .....cluster.folder import SharedFolder
from .....cluster.keeping import KeptCommand, when_abandoned
from .....cluster.queue import JobQueue, Rules
from .....cluster.server import Address, QueueServer
from .....cluster.worker import Worker
from .....common.errors import InvalidInputError, MissingFileError
from ....hosts.kept_runs import EVERY, MOST, kept_films, kept_runs
from ...core_nodes import CORE_NODES
from ...serving.checking import checker
from ...serving.making import GraphMaker
from ...serving.told import WorkerRuntime
from ..folders import model_folders
from ..session import Session
from ..terminal import say

_USUAL = {EVERY: "0", MOST: "200"}
"""Of kept runs: every step, and room for hundreds of workers."""
_LAST_S = 15.0
_DAY_S = 24 * 3600.0


def serve(options: argparse.Namespace, session: Session) -> None:
    """Serves the queue of a folder until it is stopped; or has it served by a Ray cluster, and returns."""
    if options.ray is not None:
        from .by_ray import serve_by_ray

        serve_by_ray(options)
        return
    folder = SharedFolder(options.folder)
    tokens = folder.tokens()
    classes = {**CORE_NODES, **session.nodes()}
    queue = JobQueue(options.queue_file or folder.queue, Rules(span_s=options.span, tries=options.tries))
    desk = Desk(folder, queue, checker(classes, model_folders(options)), keep_s=options.keep_days * _DAY_S)
    known = options.called or (options.host if options.host not in ("0.0.0.0", "::") else socket.gethostname())
    over = threading.Event()
    when_abandoned(over.set)
    try:
        server = QueueServer(desk, tokens, Address(options.host, options.port, (known,)))
        url = f"http://{f'[{known}]' if ':' in known else known}:{server.port}"
        with server.serving(), _workers(options):
            _announce(folder.path / "address", url)
            say(f"{url}/#token={tokens.asking}")
            while not over.wait(1.0):
                pass
    finally:
        queue.close()


def _announce(place: Path, url: str) -> None:
    part = place.with_suffix(f".{os.getpid()}")
    part.write_text(url, encoding="utf-8")
    os.replace(part, place)


@contextlib.contextmanager
def _workers(options: argparse.Namespace) -> Iterator[None]:
    """Inside, workers of this machine run; each waits for the server."""
    kept = []
    try:
        for number in range(options.workers):
            kept.append(KeptCommand(work_words(options, f"{socket.gethostname()}-{number}")))
        yield
    finally:
        threads = [threading.Thread(target=each.end) for each in kept]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def work_words(options: argparse.Namespace, name: str) -> list[str]:
    """The command of a worker for the options of `serve`."""
    words = ["work", str(options.folder.absolute()), "--name", name, "--device", options.device]
    for option in ("models", "comfyui", "extra_model_paths"):
        value = vars(options)[option]
        words += [f"--{option.replace('_', '-')}", str(value.absolute())] if value else []
    return [*words, *(["--quiet"] if options.quiet else [])]


def work(options: argparse.Namespace, session: Session) -> None:
    """Makes the videos of a queue, one after another, until it is stopped."""
    folder = SharedFolder(options.folder)
    if not (folder.path / "worker_token").is_file():
        raise MissingFileError(
            f"{folder.path} is no folder of a queue. Give the folder that `serve` was given, which all machines share."
        )
    environment = {**_USUAL, **os.environ}
    runtime = WorkerRuntime(
        options.device,
        kept_runs=kept_runs(folder.states, environment, keeps_ended=True, cost=math.inf),
        kept_films=kept_films(folder.states, environment),
    )
    runtime.check_device()
    classes = {**CORE_NODES, **session.nodes()}
    maker = GraphMaker(folder, model_folders(options), classes, runtime, session.use_host)
    name = options.name or f"{socket.gethostname()}-{os.getpid()}"
    worker = Worker(name, QueueClient(options.to or _address(folder), folder.tokens().working), folder, maker)
    when_abandoned(worker.end)
    thread = threading.Thread(target=worker.work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(1.0)
    except KeyboardInterrupt:
        worker.end()
        thread.join(_LAST_S)  # until the block or the question under way is done
        raise


def _address(folder: SharedFolder) -> str:
    try:
        return (folder.path / "address").read_text(encoding="utf-8").strip()
    except OSError:
        raise InvalidInputError(
            f"Where the queue of {folder.path} is served is not known yet. Start `serve`, or name its address with "
            "--to."
        ) from None
