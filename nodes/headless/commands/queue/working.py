"""`work`: those who make the videos of a queue."""

from __future__ import annotations

import argparse
import math
import os
import socket
import threading

from .....cluster.client import QueueClient
from .....cluster.folder import SharedFolder
from .....cluster.jobs import Seats
from .....cluster.keeping import when_abandoned
from .....cluster.worker import Worker
from .....common.errors import InvalidInputError, MissingFileError
from .....parallel.crew import count_devices, device_of
from ....hosts.kept_runs import EVERY, MOST, kept_films, kept_runs
from ...core_nodes import CORE_NODES
from ...serving.making import GraphMaker
from ...serving.told import WorkerRuntime
from ..folders import model_folders
from ..session import Session

_USUAL = {EVERY: "0", MOST: "200"}
"""Of kept runs: every step, and room for hundreds of workers."""
_LAST_S = 15.0


def work_words(options: argparse.Namespace) -> list[str]:
    """The command of a worker for the options of `serve`, but for its name."""
    words = ["work", str(options.folder.absolute()), "--device", options.device]
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
    gpus = count_devices(options.gpus, options.device) if options.gpus != "1" else 1
    runtime = WorkerRuntime(
        device_of(0, options.device) if gpus > 1 else options.device,
        kept_runs=kept_runs(folder.states, environment, keeps_ended=True, cost=math.inf),
        kept_films=kept_films(folder.states, environment),
    )
    runtime.check_device()
    classes = {**CORE_NODES, **session.nodes()}
    maker = GraphMaker(folder, model_folders(options), classes, runtime, session.use_host)
    name = options.name or f"{socket.gethostname()}-{os.getpid()}"
    client, seats = QueueClient(options.to or _address(folder), folder.tokens().working), Seats(gpus, options.only)
    worker = Worker(name, client, folder, maker, seats)
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
