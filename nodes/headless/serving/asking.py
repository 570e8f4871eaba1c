"""A workflow as a request: the part of it that is needed, and the input files that it names."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ....common.errors import WanDirectorError
from ....common.log import muted
from ...hosts.host import hosted_by
from ..checks import NodeClasses, ask_node, needed
from ..graph import Graph, GraphNode
from ..graph.api_format import as_prompt
from .job_host import NotingHost


def request_of(
    graph: Graph, classes: NodeClasses, workflow: Mapping[str, Any] | None, title: str, priority: int
) -> dict[str, Any]:
    """What a queue is asked for, but for the input files; see `cluster.desk.Desk.submit`.

    Raises:
        GraphError: a wire from nowhere, or a cycle.
    """
    return {
        "key": secrets.token_hex(16),
        "prompt": as_prompt(needed(graph, classes)),
        "workflow": workflow,
        "title": title,
        "priority": priority,
    }


def with_input_files(graph: Graph, classes: NodeClasses, host: NotingHost) -> tuple[Graph, dict[str, Path]]:
    """A graph whose input files have names that any machine can have, and these files by those names.

    Which of a node's values names a file, the node itself says: its check of its values asks for it.

    Args:
        host: finds the files.
    """
    renamed, files = {}, {}
    for node in needed(graph, classes).values():
        host.asked.clear()
        with contextlib.suppress(WanDirectorError), hosted_by(host.as_host()), muted():
            ask_node(node, classes[node.class_type])  # what is wrong with them, the queue says
        names = {name: _plain(name, path, files) for name, path in host.asked.items()}
        files |= {names[name]: path for name, path in host.asked.items()}
        inputs = {key: _renamed(value, names) for key, value in node.inputs.items()}
        renamed[node.id] = GraphNode(node.id, node.class_type, node.title, inputs)
    return renamed, files


def _plain(name: str, path: Path, files: Mapping[str, Path]) -> str:
    """A name without folders; another file that has it already makes it another one."""
    plain = PurePosixPath(path.name)
    count = 2
    while str(plain) in files and files[str(plain)] != path:
        plain = PurePosixPath(f"{path.stem}_{count}{path.suffix}")
        count += 1
    return str(plain)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    return names.get(value, value) if isinstance(value, str) else value
