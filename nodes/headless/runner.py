"""Checking and running a graph of nodes without ComfyUI."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import torch

from ...common.errors import GraphError, OutOfMemory, WanDirectorError
from ...common.log import logger
from ...common.out_of_memory import is_out_of_memory
from ..host import host
from ..standin import HiddenHolder
from .graph import Graph, GraphNode, Link
from .graph.api_format import as_prompt
from .graph.node import shown, spelt_out
from .ordering import depths, order
from .widgets import MATCHING, WIDGET_TYPES, inputs_of, nested_inputs, types_match

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

    Each node runs once, those behind a lazy input only when it is asked for; results are dropped as soon as nobody
    needs them any more, and with them the models. Saved files carry the graph, and `workflow`, the same in the
    canvas's format, if there is one.

    Raises:
        WanDirectorError: what a node refuses, with the node's name before the sentence.
    """
    return _Run(check_graph(graph, node_classes), node_classes, workflow).outputs()


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
            for node in self._graph.values():
                if self._classes[node.class_type].OUTPUT_NODE:
                    self._make(node)
        return self._shown

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
        return nested_inputs(_types(node, self._classes), self._results.inputs(node, left_out=self._lazy[node.id]))

    def _run(self, node: GraphNode) -> None:
        host().check_interrupt()
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


def _check_node(node: GraphNode, graph: Graph, node_classes: NodeClasses) -> GraphNode:
    known = {spec.name: spec for spec in inputs_of(_types(node, node_classes), node.inputs)}
    unknown = next((name for name in node.inputs if name not in known), None)
    if unknown is not None:
        raise GraphError(f"{node.label} has no input '{shown(unknown)}'. It has: {', '.join(known)}.")
    inputs = {}
    for name, (_, kind, options, required) in known.items():
        if name in node.inputs:
            value = node.inputs[name]
            if isinstance(value, Link):
                _check_wire(node, name, kind, value, graph, node_classes)
            else:
                value = _checked_value(node, name, kind, options, value, node_classes)
            inputs[name] = value
        elif "default" in options:
            if required:  # an optional input may be left out: nothing is missing
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
    if isinstance(value, list):
        raise GraphError(
            f"{name} of {node.label} is a list, {shown(value)}. Write a value; or a wire as the node's id in quotes "
            'and the number of its output, ["6", 0].'
        )
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices is not None:
        value = _as_listed(value, choices)
        validated = _validated_names(node_classes[node.class_type])
        if value not in choices and (name not in validated or not isinstance(value, str)):
            raise GraphError(
                f"{name} of {node.label} cannot be '{shown(value)}'. Choose one of: {', '.join(map(str, choices))}."
            )
        return value
    kind = options.get("widgetType", kind)
    if kind in ("*", MATCHING) or ("," in kind and set(kind.split(",")) <= WIDGET_TYPES):
        return value
    converters = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
    if kind not in converters:
        raise GraphError(
            f"{node.label} takes {kind} at '{name}', which is no value to write down. Connect a node to it."
        )
    try:
        value = converters[kind](value)
    except (TypeError, ValueError, OverflowError):
        raise GraphError(f"{name} of {node.label} must be {kind}, got {shown(repr(value))}.") from None
    low, high = options.get("min"), options.get("max")
    inside = (low is None or value >= low) and (high is None or value <= high)
    if not inside and name not in _validated_names(node_classes[node.class_type]):
        raise GraphError(f"{name} of {node.label} must be from {low} to {high}, got {shown(value)}.")
    return value


def _as_listed(value: Any, choices: list) -> Any:
    """A choice as it is listed here: the path of a file may be written with the other system's slashes."""
    if value in choices or not isinstance(value, str):
        return value
    same = (each for each in choices if isinstance(each, str) and each.replace("\\", "/") == value.replace("\\", "/"))
    return next(same, value)


def _ask_node(node: GraphNode, node_class: type) -> None:
    """Runs the node's own check of what is known before anything runs; values that come over a wire are left out,
    those named with a dot are within that of their name."""
    names = _validated_names(node_class)
    if not names:
        return
    values = {name: value for name, value in node.inputs.items() if not isinstance(value, Link)}
    known = nested_inputs(node_class.INPUT_TYPES(), values)
    try:
        answer = node_class.validate_inputs(**{name: known[name] for name in names if name in known})
    except WanDirectorError as error:
        raise _named(node, error) from None
    if answer is not True:
        raise GraphError(f"{node.label}: {spelt_out(str(answer))}")


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
    return type(error)(f"{node.label}: {spelt_out(str(error))}")


def _types(node: GraphNode, node_classes: NodeClasses) -> dict[str, dict]:
    return node_classes[node.class_type].INPUT_TYPES()
