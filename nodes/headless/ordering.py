"""The order in which the nodes of a graph run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...common.errors import GraphError
from ...common.log import logger
from .graph import Graph, GraphNode
from .graph.node import shown
from .widgets import inputs_of

NodeClasses = Mapping[str, type]


def types_of(node: GraphNode, node_classes: NodeClasses) -> dict[str, Any]:
    """What a node's class says about its inputs."""
    return node_classes[node.class_type].INPUT_TYPES()


def order(graph: Graph, node_classes: NodeClasses) -> list[GraphNode]:
    """The nodes that the graph's output nodes need, each after those it needs.

    Of several inputs the one with the longest way comes first: so prompts are encoded, and their encoder dropped,
    before the video model is loaded.

    Raises:
        GraphError: no output node, a wire from nowhere, or a cycle.
    """
    outputs = _outputs(graph, node_classes)
    longest = depths(graph, outputs)
    placed: set[str] = set()
    ordered: list[GraphNode] = []
    for output in outputs:
        ways = [(output, _nearer(output, longest))] if output.id not in placed else []
        placed.add(output.id)
        while ways:
            node, rest = ways[-1]
            below = next((id for id in rest if id not in placed), None)
            if below is None:
                ordered.append(node)
                ways.pop()
            else:
                placed.add(below)
                ways.append((graph[below], _nearer(graph[below], longest)))
    return ordered


def depths(graph: Graph, ends: list[GraphNode] | None = None) -> dict[str, int]:
    """How many nodes the longest way from each node upwards has; of the nodes that `ends` need, or of all.

    Raises:
        GraphError: a wire from nowhere, or a cycle.
    """
    known: dict[str, int] = {}
    for end in graph.values() if ends is None else ends:
        ways = [(end, iter(_needs(end, graph)))] if end.id not in known else []
        above = {end.id}
        while ways:
            node, rest = ways[-1]
            below = next((id for id in rest if id not in known), None)
            if below is None:
                known[node.id] = 1 + max((known[id] for id in _needs(node, graph)), default=0)
                above.discard(node.id)
                ways.pop()
                continue
            if below in above:
                raise GraphError(
                    f"{graph[below].label} needs its own result: the wires run in a circle. Remove one of them."
                )
            above.add(below)
            ways.append((graph[below], iter(_needs(graph[below], graph))))
    return known


def _outputs(graph: Graph, node_classes: NodeClasses) -> list[GraphNode]:
    """The output nodes; those that nothing is connected to are left out, if there are others."""
    outputs = [node for node in graph.values() if node_classes[node.class_type].OUTPUT_NODE]
    if not outputs:
        raise GraphError("The workflow saves nothing: it has no output node. Add Wan Save Video at its end.")
    idle = [node for node in outputs if _is_idle(node, node_classes)]
    if len(idle) == len(outputs):
        return outputs
    for node in idle:
        logger.info("%s is left out: nothing is connected to it.", node.label)
    gone = {node.id for node in idle}
    return [node for node in outputs if node.id not in gone]


def _is_idle(node: GraphNode, node_classes: NodeClasses) -> bool:
    """Whether an output node lacks all that it would show."""
    specs = inputs_of(node_classes[node.class_type].INPUT_TYPES(), node.inputs)
    sockets = [spec.name for spec in specs if spec.required and not spec.widget]
    return bool(sockets) and not any(name in node.inputs for name in sockets)


def _nearer(node: GraphNode, longest: Mapping[str, int]) -> Iterator[str]:
    return iter(sorted(dict.fromkeys(link.node for link in node.links), key=lambda id: -longest[id]))


def _needs(node: GraphNode, graph: Graph) -> list[str]:
    ids = [link.node for link in node.links]
    lost = next((id for id in ids if id not in graph), None)
    if lost is not None:
        raise GraphError(
            f"{node.label} has a wire from node {shown(lost)}, which is not in the workflow. Connect it again."
        )
    return list(dict.fromkeys(ids))
