"""A run on tensors without values before the run itself: what does not go together shows before anything takes long."""

from __future__ import annotations

from ...common.errors import WanDirectorError
from ..headless.checks import NodeClasses
from ..headless.graph import Graph
from ..hosts.host import host
from .recording import record_run
from .unknown import ASSUMPTIONS, MODEL_SOCKETS, Assumption


def rehearse(graph: Graph, node_classes: NodeClasses) -> None:
    """Runs a graph that has been checked without loading, computing or writing anything; not one without models.

    Raises:
        WanDirectorError: what a node refuses, with the node's name before the sentence.
    """
    given = {kind for node in graph.values() for kind in node_classes[node.class_type].RETURN_TYPES}
    if MODEL_SOCKETS.isdisjoint(given):
        return
    first, second = ASSUMPTIONS
    doubted = _rehearsed(graph, node_classes, first)
    again = {str(error) for error in _rehearsed(graph, node_classes, second)} if doubted else set()
    refusal = next((error for error in doubted if str(error) in again), None)
    if refusal is not None:
        raise refusal


def _rehearsed(graph: Graph, node_classes: NodeClasses, guess: Assumption) -> list[WanDirectorError]:
    """What is refused under a guess, and would perhaps not be under another."""
    return record_run(graph, node_classes, guess, host().runtime.device, is_lenient=True).doubted
