"""Running a graph of nodes without ComfyUI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import torch

from ...common.errors import OutOfMemory, WanDirectorError
from ...common.log import logger
from ...common.out_of_memory import is_out_of_memory
from ..hosts.host import host
from ..standin import HiddenHolder
from .checks import NodeClasses, check_graph, named, types_of
from .graph import Graph, GraphNode, Link
from .graph.api_format import as_prompt
from .ordering import depths
from .pairs import check_decoders
from .widgets import WIDGET_TYPES, inputs_of, nested_inputs


def run_graph(graph: Graph, node_classes: NodeClasses, workflow: dict | None = None) -> list[dict[str, Any]]:
    """Runs a graph and gives what its output nodes show: one dictionary each, as ComfyUI's `ui` results.

    Each node runs once, those behind a lazy input only when it is asked for; results are dropped as soon as nobody
    needs them any more, and with them the models. Saved files carry the graph, and `workflow`, the same in the
    canvas's format, if there is one.

    Raises:
        WanDirectorError: what a node refuses, with the node's name before the sentence.
    """
    checked = check_graph(graph, node_classes)
    check_decoders(checked)
    return _Run(checked, node_classes, workflow).outputs()


class _Run:
    """One run of a graph that has been checked."""

    def __init__(self, graph: Graph, node_classes: NodeClasses, workflow: dict | None) -> None:
        self._graph = graph
        self._classes = node_classes
        self._carried = {"prompt": as_prompt(graph), "extra_pnginfo": {"workflow": workflow} if workflow else None}
        ends = {node.id for node in graph.values() if node_classes[node.class_type].OUTPUT_NODE}
        self._results = _Results(graph, ends)
        self._depths = depths(graph)
        self._lazy = {node.id: _lazy_wires(node, node_classes[node.class_type]) for node in graph.values()}
        self._shown: list[dict[str, Any]] = []

    def outputs(self) -> list[dict[str, Any]]:
        with torch.inference_mode():
            for node in self._plain_values():
                self._make(node)
            for node in self._graph.values():
                if self._classes[node.class_type].OUTPUT_NODE:
                    self._make(node)
        return self._shown

    def _plain_values(self) -> list[GraphNode]:
        """Nodes that work out numbers and texts from others: a mistake in them shows before the sampling.

        Those behind lazy wires wait as ever.
        """
        plain: set[str] = set()
        for id in sorted(self._graph, key=lambda id: self._depths[id]):
            node_class = self._classes[self._graph[id].class_type]
            is_plain = set(node_class.RETURN_TYPES) <= WIDGET_TYPES and not node_class.OUTPUT_NODE
            if is_plain and all(link.node in plain for link in self._graph[id].links):
                plain.add(id)
        waiting = [node for node in self._graph.values() if self._classes[node.class_type].OUTPUT_NODE]
        reached = {node.id for node in waiting}
        while waiting:
            below = {link.node for link in self._strong(waiting.pop())} - reached
            reached |= below
            waiting += [self._graph[id] for id in below]
        return [node for id, node in self._graph.items() if id in plain & reached]

    def _make(self, wanted: GraphNode) -> None:
        """Runs a node after those it needs, the longest way first."""
        waiting = [wanted]
        while waiting:
            node = waiting[-1]
            if self._results.has(node):
                waiting.pop()
                continue
            missing = [link.node for link in self._strong(node) if not self._results.has(self._graph[link.node])]
            if missing:
                ordered = sorted(dict.fromkeys(missing), key=lambda id: self._depths[id])
                waiting += [self._graph[id] for id in ordered]
            elif not self._asks_for_more(node):
                self._run(node)
                waiting.pop()

    def _strong(self, node: GraphNode) -> list[Link]:
        """The wires that a node needs now: all but the lazy ones that it has not asked for."""
        lazy = self._lazy[node.id]
        return [value for name, value in node.inputs.items() if isinstance(value, Link) and name not in lazy]

    def _asks_for_more(self, node: GraphNode) -> bool:
        """Asks a node which of its lazy inputs it needs."""
        lazy = self._lazy[node.id]
        if not lazy:
            return False
        wanted = self._classes[node.class_type].check_lazy_status(**self._inputs(node)) or []
        asked = lazy & set(wanted)
        lazy -= asked
        return bool(asked)

    def _inputs(self, node: GraphNode) -> dict[str, Any]:
        return nested_inputs(types_of(node, self._classes), self._results.inputs(node, left_out=self._lazy[node.id]))

    def _run(self, node: GraphNode) -> None:
        host().runtime.check_interrupt()
        logger.debug("%s runs.", node.label)
        node_class = self._classes[node.class_type]
        output = _run_node(node, node_class, self._inputs(node), self._carried)
        if output.ui is not None:
            self._shown.append(output.ui if isinstance(output.ui, dict) else output.ui.as_dict())
        self._results.keep(node, output.args)


class _Results:
    """What nodes have made and others still need."""

    def __init__(self, graph: Graph, ends: Collection[str]) -> None:
        self._graph = graph
        self._ends = ends
        self._made: dict[str, tuple] = {}
        self._done: set[str] = set()
        self._uses = Counter(link.node for node in graph.values() for link in node.links)

    def has(self, node: GraphNode) -> bool:
        """Whether a node has run."""
        return node.id in self._done

    def inputs(self, node: GraphNode, left_out: Collection[str] = ()) -> dict[str, Any]:
        """A node's inputs, with the values behind its wires; None for wires that are left out."""
        return {name: self._value(value, name in left_out) for name, value in node.inputs.items()}

    def _value(self, value: Any, is_left_out: bool) -> Any:
        if not isinstance(value, Link):
            return value
        return None if is_left_out else self._made[value.node][value.slot]

    def keep(self, node: GraphNode, made: tuple) -> None:
        """Keeps what a node has made, if it is needed, and drops what it was the last to need."""
        self._done.add(node.id)
        if self._uses[node.id]:
            self._made[node.id] = made
        released = [node]
        while released:
            for link in released.pop().links:
                self._uses[link.node] -= 1
                if self._uses[link.node]:
                    continue
                if link.node in self._done:
                    del self._made[link.node]
                elif (
                    link.node not in self._ends
                ):  # nobody will ask for it any more: what it would have needed is free too
                    released.append(self._graph[link.node])


def _lazy_wires(node: GraphNode, node_class: type) -> set[str]:
    """The wires into a node that wait until it asks for them."""
    if not hasattr(node_class, "check_lazy_status"):
        return set()
    specs = inputs_of(node_class.INPUT_TYPES(), node.inputs)
    return {spec.name for spec in specs if spec.is_lazy and isinstance(node.inputs.get(spec.name), Link)}


def _run_node(node: GraphNode, node_class: type, inputs: dict[str, Any], carried: dict[str, Any]) -> Any:
    running = type(node_class.__name__, (node_class,), {"hidden": HiddenHolder(unique_id=node.id, **carried)})
    try:
        return running.execute(**inputs)
    except WanDirectorError as error:
        refusal = named(node, error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        refusal = OutOfMemory(
            f"{node.label} needs more memory than is free. Make a smaller or shorter video, choose precision bf16, or "
            "close other programs."
        )
    raise refusal from None  # outside the handlers, whose traceback would keep the node's tensors alive
