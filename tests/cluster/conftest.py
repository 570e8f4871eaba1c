"""A queue that is served, without models: its graphs are checked by a function of the tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from wan_director.cluster.client import QueueClient
from wan_director.cluster.desk import Checked, Desk
from wan_director.cluster.folder import SharedFolder
from wan_director.cluster.queue import JobQueue, Rules
from wan_director.cluster.server import Address, QueueServer
from wan_director.common.errors import GraphError

GRAPH = {"1": {"class_type": "Draw", "inputs": {"text": "a cat"}}}
KEY = "0123456789abcdef"


def check(prompt: Mapping[str, Any], files: Mapping[str, Path]) -> Checked:
    """Takes graphs of one kind of node."""
    if any(node.get("class_type") != "Draw" for node in prompt.values()):
        raise GraphError("There is no such node. Leave it out.")
    return Checked(prompt, "draw")


@pytest.fixture
def folder(tmp_path: Path) -> SharedFolder:
    return SharedFolder(tmp_path / "shared")


@pytest.fixture
def server(folder: SharedFolder) -> Iterator[QueueServer]:
    tokens = folder.tokens()
    queue = JobQueue(folder.queue, Rules(span_s=60.0, pause_s=0.0))
    made = QueueServer(Desk(folder, queue, check), tokens, Address(port=0))
    with made.serving():
        yield made
    queue.close()


@pytest.fixture
def client(server: QueueServer) -> QueueClient:
    """Somebody who asks for videos."""
    return QueueClient(f"http://127.0.0.1:{server.port}", server.tokens.asking, timeout_s=20)


@pytest.fixture
def working(server: QueueServer) -> QueueClient:
    """Somebody who makes them."""
    return QueueClient(f"http://127.0.0.1:{server.port}", server.tokens.working, timeout_s=20)
