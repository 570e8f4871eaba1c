"""Checking and running a graph of nodes without ComfyUI."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from ...common.errors import GraphError, OutOfMemory, WanDirectorError
from ...common.log import logger
from ...common.out_of_memory import is_out_of_memory
from ..host import host
from ..standin import HiddenHolder
from .graph import Graph, GraphNode, Link
from .widgets import inputs_of, types_match

NodeClasses = Mapping[str, type]


def check_graph(graph: Graph, node_classes: NodeClasses) -> Graph:
    """The graph with defaults filled in and values brought to their types, after every check ComfyUI's server makes.

    Raises:
        GraphError: an unknown or missing input, a wire of the wrong type, a value out of range, a cycle, no output.
        WanDirectorError: what a node's own `validate_inputs` refuses.
    """
    wanted = order(graph, node_classes)
    checked = {node.id: _check_node(node, graph, node_classes) for node in wanted}
    for node in checked.values():
        _ask_node(node, node_classes[node.class_type])
    return checked


def run_graph(graph: Graph, node_classes: NodeClasses, workflow: dict | None = None) -> list[dict[str, Any]]:
    """Runs a graph and gives what its output nodes show: one dictionary each, as ComfyUI's `ui` results.

    Each node runs once; its results are dropped as soon as nobody needs them any more, and with them the models.
    Saved files carry the graph, and `workflow`, the same in the canvas's format, if there is one.

    Raises:
        WanDirectorError: what a node refuses, with the node's name before the sentence.
    """
    graph = check_graph(graph, node_classes)
    carried = {"prompt": as_prompt(graph), "extra_pnginfo": {"workflow": workflow} if workflow else None}
    results = _Results(graph)
    shown = []
    with torch.inference_mode():
        for node in graph.values():
            host().check_interrupt()
            logger.debug("%s runs.", node.label)
            output = _run_node(node, node_classes[node.class_type], results.inputs(node), carried)
            if output.ui is not None:
                shown.append(output.ui if isinstance(output.ui, dict) else output.ui.as_dict())
            results.replace_inputs(node, output.args)
            del output
    return shown


class _Results:
    """What nodes have made and others still need."""

    def __init__(self, graph: Graph) -> None:
        self._made: dict[str, tuple] = {}
        self._uses = Counter(link.node for node in graph.values() for link in _links(node))

    def inputs(self, node: GraphNode) -> dict[str, Any]:
        """A node's inputs, with the values behind its wires."""
        return {
            name: self._made[value.node][value.slot] if isinstance(value, Link) else value
            for name, value in node.inputs.items()
        }

    def replace_inputs(self, node: GraphNode, made: tuple) -> None:
        """Keeps what a node has made, if it is needed, and drops what it was the last to need."""
        if self._uses[node.id]:
            self._made[node.id] = made
        for link in _links(node):
            self._uses[link.node] -= 1
            if not self._uses[link.node]:
                del self._made[link.node]


def _links(node: GraphNode) -> list[Link]:
    return [value for value in node.inputs.values() if isinstance(value, Link)]


def order(graph: Graph, node_classes: NodeClasses) -> list[GraphNode]:
    """The nodes that the graph's output nodes need, each after those it needs.

    Of several inputs the one with the longest way comes first: so prompts are encoded, and their encoder dropped,
    before the video model is loaded.

    Raises:
        GraphError: no output node, a wire from nowhere, or a cycle.
    """
    outputs = [node for node in graph.values() if node_classes[node.class_type].OUTPUT_NODE]
    if not outputs:
        raise GraphError("The workflow saves nothing: it has no output node. Add Wan Save Video at its end.")
    done: dict[str, int] = {}
    placed: set[str] = set()
    ordered: list[GraphNode] = []

    def depth(node: GraphNode, above: tuple[str, ...]) -> int:
        if node.id in above:
            raise GraphError(f"{node.label} needs its own result: the wires run in a circle. Remove one of them.")
        if node.id not in done:
            below = {id: depth(graph[id], (*above, node.id)) for id in _needs(node, graph)}
            done[node.id] = 1 + max(below.values(), default=0)
        return done[node.id]

    def visit(node: GraphNode) -> None:
        if node.id in placed:
            return
        placed.add(node.id)
        for id in sorted(_needs(node, graph), key=lambda id: -done[id]):
            visit(graph[id])
        ordered.append(node)

    for node in outputs:
        depth(node, ())
        visit(node)
    return ordered


def _needs(node: GraphNode, graph: Graph) -> list[str]:
    ids = [link.node for link in _links(node)]
    lost = next((id for id in ids if id not in graph), None)
    if lost is not None:
        raise GraphError(f"{node.label} has a wire from node {lost}, which is not in the workflow. Connect it again.")
    return list(dict.fromkeys(ids))


def _check_node(node: GraphNode, graph: Graph, node_classes: NodeClasses) -> GraphNode:
    known = {name: (kind, options, required) for name, kind, options, required in inputs_of(_types(node, node_classes))}
    unknown = next((name for name in node.inputs if name not in known), None)
    if unknown is not None:
        raise GraphError(f"{node.label} has no input '{unknown}'. It has: {', '.join(known)}.")
    inputs = {}
    for name, (kind, options, required) in known.items():
        if name in node.inputs:
            value = node.inputs[name]
            if isinstance(value, Link):
                _check_wire(node, name, kind, value, graph, node_classes)
            else:
                value = _checked_value(node, name, kind, options, value, node_classes)
            inputs[name] = value
        elif "default" in options:
            logger.info("%s has no '%s'; its default %r is used.", node.label, name, options["default"])
            inputs[name] = options["default"]
        elif required:
            raise GraphError(f"{node.label} needs its input '{name}', and nothing is connected. Connect it.")
    return GraphNode(node.id, node.class_type, node.title, inputs)


def _check_wire(
    node: GraphNode, name: str, kind: str | list, link: Link, graph: Graph, node_classes: NodeClasses
) -> None:
    origin = graph[link.node]
    given = node_classes[origin.class_type].RETURN_TYPES
    if not 0 <= link.slot < len(given):
        raise GraphError(
            f"{node.label} takes output {link.slot} of {origin.label}, which has {len(given)}. Connect it again."
        )
    if not types_match(given[link.slot], kind):
        raise GraphError(
            f"{node.label} takes {kind} at '{name}', but {origin.label} gives {given[link.slot]} there. Connect an "
            f"output of the type {kind}."
        )


def _checked_value(
    node: GraphNode, name: str, kind: str | list, options: dict[str, Any], value: Any, node_classes: NodeClasses
) -> Any:
    """A widget's value in its type, within its limits."""
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices is not None:
        validated = _validated_names(node_classes[node.class_type])
        if value not in choices and name not in validated:
            raise GraphError(
                f"{name} of {node.label} cannot be '{value}'. Choose one of: {', '.join(map(str, choices))}."
            )
        return value
    converters = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
    if kind not in converters:
        raise GraphError(
            f"{node.label} takes {kind} at '{name}', which is no value to write down. Connect a node to it."
        )
    try:
        value = converters[kind](value)
    except (TypeError, ValueError, OverflowError):
        raise GraphError(f"{name} of {node.label} must be {kind}, got {value!r}.") from None
    low, high = options.get("min"), options.get("max")
    inside = (low is None or value >= low) and (high is None or value <= high)
    if not inside and name not in _validated_names(node_classes[node.class_type]):
        raise GraphError(f"{name} of {node.label} must be from {low} to {high}, got {value}.")
    return value


def _ask_node(node: GraphNode, node_class: type) -> None:
    """Runs the node's own check of what is known before anything runs; values that come over a wire are left out."""
    names = _validated_names(node_class)
    if not names:
        return
    known = {name: value for name, value in node.inputs.items() if name in names and not isinstance(value, Link)}
    try:
        answer = node_class.validate_inputs(**known)
    except WanDirectorError as error:
        raise _named(node, error) from None
    if answer is not True:
        raise GraphError(f"{node.label}: {answer}")


def _validated_names(node_class: type) -> tuple[str, ...]:
    check = node_class.__dict__.get("validate_inputs")
    return () if check is None else tuple(inspect.signature(check.__func__).parameters)[1:]


def _run_node(node: GraphNode, node_class: type, inputs: dict[str, Any], carried: dict[str, Any]) -> Any:
    running = type(node_class.__name__, (node_class,), {"hidden": HiddenHolder(unique_id=node.id, **carried)})
    try:
        return running.execute(**inputs)
    except WanDirectorError as error:
        refusal = _named(node, error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        refusal = OutOfMemory(
            f"{node.label} needs more memory than is free. Make a smaller or shorter video, choose precision bf16, or "
            "close other programs."
        )
    raise refusal from None  # outside the handlers, whose traceback would keep the node's tensors alive


def _named(node: GraphNode, error: WanDirectorError) -> WanDirectorError:
    return type(error)(f"{node.label}: {error}")


def as_prompt(graph: Graph) -> dict[str, Any]:
    """The graph in the server's format, which saved files carry."""
    return {
        node.id: {
            "class_type": node.class_type,
            "inputs": {name: list(v) if isinstance(v, Link) else v for name, v in node.inputs.items()},
            "_meta": {"title": node.title},
        }
        for node in graph.values()
    }


def _types(node: GraphNode, node_classes: NodeClasses) -> dict[str, dict]:
    return node_classes[node.class_type].INPUT_TYPES()
