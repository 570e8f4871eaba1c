"""Which nodes of a graph a run comes to: those behind a lazy input only where it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...common.log import muted
from .graph import Graph, GraphNode
from .ordering import NodeClasses
from .walking import Walk, execute, lazy_wires
from .widgets import WIDGET_TYPES

_UNKNOWN = object()
"""A value that only the run itself works out."""


def reached(graph: Graph, node_classes: NodeClasses) -> list[str]:
    """The nodes that a run comes to, in the graph's order. A switch whose position only the run tells has both sides.

    Args:
        graph: checked, with all inputs.
        node_classes: by name.
    """
    ends = {node.id for node in graph.values() if node_classes[node.class_type].OUTPUT_NODE}
    walk = _Reaching(graph, node_classes, ends)
    with muted():
        walk.go()
    return [id for id in graph if id in walk.made]


class _Reaching(Walk):
    """A way through a graph on which nothing runs but what works out the position of a switch from written values."""

    def __init__(self, graph: Graph, node_classes: NodeClasses, ends: set[str]) -> None:
        super().__init__(graph, node_classes, ends, self._work_out)
        self.made: set[str] = set()
        self._deciding = self._above(
            link.node for node in graph.values() if self._lazy[node.id] for link in self._strong(node)
        )

    def _above(self, ids: Iterable[str]) -> set[str]:
        """These nodes, and all that they need."""
        found, waiting = set[str](), list(ids)
        while waiting:
            id = waiting.pop()
            if id not in found:
                found.add(id)
                waiting += [link.node for link in self._graph[id].links]
        return found

    def _work_out(self, node: GraphNode, inputs: dict[str, Any]) -> Sequence[Any]:
        self.made.add(node.id)
        node_class = self._classes[node.class_type]
        is_plain = set(node_class.RETURN_TYPES) <= WIDGET_TYPES or lazy_wires(node, node_class)
        nothing = (_UNKNOWN,) * len(node_class.RETURN_TYPES)
        is_known = not any(value is _UNKNOWN for value in inputs.values())
        if node.id not in self._deciding or not is_plain or not is_known or node_class.OUTPUT_NODE:
            return nothing
        try:
            return execute(node, node_class, inputs, {}).args
        except Exception:  # a border: what is wrong with it is said when it runs
            return nothing

    def _asks_for_more(self, node: GraphNode) -> bool:
        waiting = self._lazy[node.id]
        lazy = lazy_wires(node, self._classes[node.class_type])
        if any(value is _UNKNOWN for name, value in self._inputs(node).items() if name not in lazy):
            is_waiting = bool(waiting)
            waiting.clear()
            return is_waiting
        return super()._asks_for_more(node)
