"""From a node on the canvas to the graph before it, as a job that saves what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...cluster.client import QueueClient, patiently
from ...common.errors import GraphError
from ..headless.core_nodes import CORE_NODES
from ..headless.graph import parse_graph
from ..headless.serving.asking import request_of, with_input_files
from ..headless.serving.job_host import NotingHost
from ..hosts.host import host
from ..registry import registered
from .addresses import wait

SAVER = "WanDirectorSaveVideo"
SAVED = ("images", "audio", "fps", "filename_prefix", "format", "quality")
"""The inputs that a job's last node has of the node that sends it."""
_TRIES = 5


def job_before(prompt: Mapping[str, Any] | None, id: str | None) -> dict[str, Any]:
    """The part of a graph that a node needs, in the server's format, with a node in its place that saves.

    Raises:
        GraphError: the graph is not known, or the node is none of it.
    """
    if not prompt or id is None or id not in prompt:
        raise GraphError(
            "The graph before the node is not known, as inside of a loop that another node unrolls. Put the node "
            "outside of it."
        )
    found: dict[str, Any] = {}
    waiting = [id]
    while waiting:
        each = waiting.pop()
        if each in found or each not in prompt:
            continue
        found[each] = prompt[each]
        waiting += [wire[0] for wire in prompt[each].get("inputs", {}).values() if _is_wire(wire)]
    own = prompt[id]["inputs"]
    found[id] = {"class_type": SAVER, "inputs": {name: own[name] for name in SAVED if own.get(name) is not None}}
    return found


def submitted(client: QueueClient, job: Mapping[str, Any], workflow: Any, title: str, priority: int) -> str:
    """Queues a graph with the input files that it names; the id of the job.

    Raises:
        WanDirectorError: the graph has nodes that a queue does not know, the queue refuses it, or does not answer.
    """
    classes = {**CORE_NODES, **registered()}
    graph = parse_graph(job, classes, "The graph")
    named, files = with_input_files(graph, classes, NotingHost(host()))
    said = request_of(named, classes, workflow if isinstance(workflow, dict) else None, title, priority)
    return str(patiently(lambda: client.submit(said, files), wait, _TRIES)["id"])


def _is_wire(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)
