"""Nodes that the command line does not know: left out where nothing needs them, else refused, all of them at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ....common.errors import GraphError
from ....common.log import logger
from .counterparts import COUNTERPARTS
from .node import Graph, GraphNode, shown

PREVIEWS = frozenset({
    "PreviewImage", "PreviewAny", "PreviewAudio", "PreviewLatent", "PreviewAnimation", "MaskPreview", "MaskPreview+",
    "ImageCompare", "Image Comparer (rgthree)", "Display Any (rgthree)", "easy showAnything", "ShowText|pysssss",
})  # fmt: skip
SAVERS = frozenset({
    "SaveVideo", "SaveWEBM", "SaveImage", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveLatent", "VHS_VideoCombine",
})  # fmt: skip
"""Nodes that save although something may be wired to what they give."""
_MOST_IDS = 5
_MOST_KINDS = 40


def without_unneeded(graph: Graph, node_classes: Mapping[str, type], dead_ends: Collection[str] | None = None) -> Graph:
    """A graph without the unknown nodes that no result needs.

    Args:
        graph: nodes by id.
        node_classes: those that are known.
        dead_ends: ids of nodes that have no output; None where the file does not say.

    Raises:
        GraphError: a result needs unknown nodes, or they may be where one is saved.
    """
    unknown = {id for id, node in graph.items() if node.class_type not in node_classes}
    if not unknown:
        return graph
    results = [id for id, node in graph.items() if id not in unknown and node_classes[node.class_type].OUTPUT_NODE]
    feeding = {link.node for node in graph.values() for link in node.links}
    saving = [id for id in graph if id in unknown and id not in feeding and _may_save(graph[id], dead_ends)]
    needed = _upstream(graph, [*results, *saving])
    refused = [graph[id] for id in graph if id in unknown and (id in needed or not results)]
    if refused:
        raise GraphError(_refusal(refused))
    left_out = [graph[id] for id in graph if id in unknown]
    logger.info("Left out, because no result needs them: %s.", _listed(left_out, with_counterparts=False))
    gone = {node.id for node in left_out}
    return {id: _without(node, gone) for id, node in graph.items() if id not in gone}


def _may_save(node: GraphNode, dead_ends: Collection[str] | None) -> bool:
    """Whether a node that feeds nothing may be one that saves a result."""
    if node.class_type in PREVIEWS or not node.links:
        return False
    return dead_ends is None or node.id in dead_ends or node.class_type in SAVERS


def _upstream(graph: Graph, ends: list[str]) -> set[str]:
    needed: set[str] = set()
    waiting = list(ends)
    while waiting:
        id = waiting.pop()
        if id not in needed and id in graph:
            needed.add(id)
            waiting += [link.node for link in graph[id].links]
    return needed


def _without(node: GraphNode, gone: set[str]) -> GraphNode:
    lost = {link.node for link in node.links} & gone
    if not lost:
        return node
    kept = {name: value for name, value in node.inputs.items() if getattr(value, "node", None) not in lost}
    return GraphNode(node.id, node.class_type, node.title, kept)


def _refusal(nodes: list[GraphNode]) -> str:
    kinds = {node.class_type for node in nodes}
    runs = (
        "It runs the nodes of Wan Director and ComfyUI's for Wan models, pictures, videos and values; run this "
        "workflow in ComfyUI, or"
    )
    if len(nodes) == 1:
        (node,) = nodes
        called = f" '{shown(node.title)}'" if node.title != node.class_type else ""
        counterpart = COUNTERPARTS.get(node.class_type)
        instead = f" with {counterpart}" if counterpart else ""
        kind = shown(node.class_type)
        return (
            f"Node {shown(node.id)}{called} is a {kind}, which the command line does not know. {runs} replace the node"
            f"{instead}."
        )
    count = f"{len(nodes):,} nodes" + (f" of {len(kinds):,} kinds" if len(kinds) > 1 else "")
    return f"The command line does not know {count} that this workflow needs: {_listed(nodes)}. {runs} replace them."


def _listed(nodes: list[GraphNode], *, with_counterparts: bool = True) -> str:
    kinds: dict[str, list[GraphNode]] = {}
    for node in nodes:
        kinds.setdefault(node.class_type, []).append(node)
    parts = []
    for kind, members in list(kinds.items())[:_MOST_KINDS]:
        ids = ", ".join(shown(node.id) for node in members[:_MOST_IDS])
        more = f" and {len(members) - _MOST_IDS:,} more" if len(members) > _MOST_IDS else ""
        counterpart = COUNTERPARTS.get(kind) if with_counterparts else None
        instead = f"; use {counterpart}" if counterpart else ""
        parts.append(f"{shown(kind)} (node {ids}{more}{instead})")
    if len(kinds) > _MOST_KINDS:
        parts.append(f"and {len(kinds) - _MOST_KINDS:,} more kinds")
    return ", ".join(parts)
