"""`serve`: the queue's server."""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from .....cluster.desk import Desk
from .....cluster.folder import SharedFolder
from .....cluster.keeping import KeptCommand, when_abandoned
from .....cluster.queue import JobQueue, Rules
from .....cluster.server import Address, QueueServer
from .....media.whole import replace_file, unfinished_file
from ...core_nodes import CORE_NODES
from ...serving.checking import checker
from ..folders import model_folders
from ..session import Session
from ..terminal import say
from .working import work_words

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
    with unfinished_file(place.parent, "part") as part:
        part.write_text(url, encoding="utf-8")
        replace_file(part, place)


@contextlib.contextmanager
def _workers(options: argparse.Namespace) -> Iterator[None]:
    """Inside, workers of this machine run; each waits for the server."""
    kept = []
    try:
        for number in range(options.workers):
            kept.append(KeptCommand([*work_words(options), "--name", f"{socket.gethostname()}-{number}"]))
        yield
    finally:
        threads = [threading.Thread(target=each.end) for each in kept]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
