"""A run on tensors without values before the run itself: what does not go together shows before anything takes long."""

from __future__ import annotations

from ..headless.checks import NodeClasses
from ..headless.graph import Graph
from ..hosts.host import host
from .recording import record
from .unknown import ASSUMPTIONS, MODEL_SOCKETS


def rehearse(graph: Graph, node_classes: NodeClasses) -> None:
    """Runs a graph that has been checked without loading, computing or writing anything; not one without models.

    Raises:
        WanDirectorError: what a node refuses, with the node's name before the sentence.
    """
    given = {kind for node in graph.values() for kind in node_classes[node.class_type].RETURN_TYPES}
    if MODEL_SOCKETS.isdisjoint(given):
        return
    record(graph, node_classes, ASSUMPTIONS[0], host().runtime.device, is_lenient=True)
