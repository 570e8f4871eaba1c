"""What is refused before a graph runs: what ComfyUI's server refuses, and what a node can tell from its widgets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ...common.errors import GraphError, WanDirectorError
from ...common.log import logger
from ..api import Refused
from ..files.places import sentence
from .graph import Graph, GraphNode, Link
from .graph.node import shown, spelt_out
from .ordering import NodeClasses, depths, order, types_of
from .reaching import reached
from .widgets import MATCHING, WIDGET_TYPES, inputs_of, nested_inputs, types_match


def check_graph(graph: Graph, node_classes: NodeClasses) -> Graph:
    """The graph with defaults filled in and values brought to their types, after every check ComfyUI's server makes.

    Raises:
        GraphError: an unknown or missing input, a wire of the wrong type, a value out of range, a cycle, no output.
        WanDirectorError: what a node's own `validate_inputs` refuses; a node behind a switch that is off is not asked.
    """
    wanted = order(graph, node_classes)
    checked = {node.id: _checked_node(node, graph, node_classes) for node in wanted}
    for node in wanted:
        for name, _, _, required in inputs_of(types_of(node, node_classes), node.inputs):
            # An optional input may be left out: nothing is missing.
            if required and name not in node.inputs:
                default = checked[node.id].inputs[name]
                logger.info("%s has no '%s'; its default %r is used.", node.label, name, default)
    for id in reached(checked, node_classes):
        ask_node(checked[id], node_classes[checked[id].class_type])
    return checked


def needed(graph: Graph, node_classes: NodeClasses) -> Graph:
    """The part of a graph that its output nodes need; all of it where it has none.

    Raises:
        GraphError: a wire from nowhere, or a cycle.
    """
    if any(node_classes[node.class_type].OUTPUT_NODE for node in graph.values()):
        wanted = {node.id for node in order(graph, node_classes)}
    else:
        wanted = set(depths(graph))
    return {id: node for id, node in graph.items() if id in wanted}


def check_values(graph: Graph, node_classes: NodeClasses) -> Graph:
    """As `check_graph`, of wires and values alone, without asking for files and folders, which may come later.

    Args:
        graph: see `needed`.
        node_classes: by name.

    Raises:
        GraphError: as `check_graph`.
    """
    return {id: _checked_node(node, graph, node_classes) for id, node in graph.items()}


def _checked_node(node: GraphNode, graph: Graph, node_classes: NodeClasses) -> GraphNode:
    known = {spec.name: spec for spec in inputs_of(types_of(node, node_classes), node.inputs)}
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
    type_given = _type_given(link, graph, node_classes)
    if not types_match(type_given, kind):
        raise GraphError(
            f"{node.label} takes {kind} at '{name}', but {origin.label} gives {type_given} there. Connect an output of "
            f"the type {kind}."
        )


def _type_given(link: Link, graph: Graph, node_classes: NodeClasses) -> str:
    """The type of an output; of one that gives what it is given, as a switch does, the types that it may be given."""
    found: dict[str, None] = {}
    waiting, seen = [link], set()
    while waiting:
        wire = waiting.pop()
        if wire in seen or wire.node not in graph:
            continue
        seen.add(wire)
        origin = graph[wire.node]
        given = node_classes[origin.class_type].RETURN_TYPES
        if not 0 <= wire.slot < len(given) or given[wire.slot] != MATCHING:
            found.update({given[wire.slot]: None} if 0 <= wire.slot < len(given) else {})
            continue
        specs = [spec for spec in inputs_of(types_of(origin, node_classes), origin.inputs) if spec.type == MATCHING]
        wires = [origin.inputs[spec.name] for spec in specs if isinstance(origin.inputs.get(spec.name), Link)]
        waiting += wires or []
        found.update({} if wires else {MATCHING: None})
    return ",".join(found) or MATCHING


def _checked_value(
    node: GraphNode, name: str, kind: str | list, options: dict[str, Any], value: Any, node_classes: NodeClasses
) -> Any:
    """A widget's value in its type, within its limits."""
    if isinstance(value, list):
        raise GraphError(
            f"{name} of {node.label} is a list, {shown(value)}. Write a value; or a wire as the node's id in quotes "
            'and the number of its output, ["6", 0].'
        )
    if value is None and _takes_values(kind, options):
        otherwise = f", or leave it out: then it is {shown(options['default'])!r}" if "default" in options else ""
        raise GraphError(f"{name} of {node.label} is null, which is no value. Write one{otherwise}.")
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
    if kind not in _CONVERTERS:
        raise GraphError(
            f"{node.label} takes {kind} at '{name}', which is no value to write down. Connect a node to it."
        )
    try:
        value = _CONVERTERS[kind](value)
    except (TypeError, ValueError, OverflowError):
        raise GraphError(f"{name} of {node.label} must be {kind}, got {shown(repr(value))}.") from None
    low, high = options.get("min"), options.get("max")
    inside = (low is None or value >= low) and (high is None or value <= high)
    if not inside and name not in _validated_names(node_classes[node.class_type]):
        raise GraphError(f"{name} of {node.label} must be from {low} to {high}, got {shown(value)}.")
    return value


def _takes_values(kind: str | list, options: Mapping[str, Any]) -> bool:
    """Whether there may be a value at an input; else there is a wire."""
    kind = "COMBO" if isinstance(kind, list) else options.get("widgetType", kind)
    return bool({*WIDGET_TYPES, "*", MATCHING} & set(kind.split(",")))


def _whole(value: Any) -> int:
    """A whole number, also as text or as 3.0, never one that is cut."""
    whole = int(value)
    if isinstance(value, float) and value != whole:
        raise ValueError(value)
    return whole


def _text(value: Any) -> str:
    if isinstance(value, dict):
        raise TypeError(value)
    return str(value)


def _truth(value: Any) -> bool:
    """True or false, also as 1, 0 or text; `bool` takes the text "false" for true."""
    words = {"true": True, "false": False}
    if isinstance(value, str):
        value = words.get(value.lower(), value)
    if value not in (True, False):
        raise ValueError(value)
    return bool(value)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {"INT": _whole, "FLOAT": float, "STRING": _text, "BOOLEAN": _truth}


def _as_listed(value: Any, choices: list) -> Any:
    """A choice as it is listed here: the path of a file may be written with the other system's slashes."""
    if value in choices or not isinstance(value, str):
        return value
    same = (each for each in choices if isinstance(each, str) and each.replace("\\", "/") == value.replace("\\", "/"))
    return next(same, value)


def ask_node(node: GraphNode, node_class: type) -> None:
    """Runs the node's own check of what is known before anything runs; values that come over a wire are left out,
    those named with a dot are within that of their name.

    Raises:
        WanDirectorError: the node refuses them.
    """
    names = _validated_names(node_class)
    if not names:
        return
    values = {name: value for name, value in node.inputs.items() if not isinstance(value, Link)}
    known = nested_inputs(node_class.INPUT_TYPES(), values)
    try:
        answer = node_class.validate_inputs(**{name: known[name] for name in names if name in known})
    except WanDirectorError as error:
        raise named(node, error) from None
    if answer is not True:
        kind = answer.kind if isinstance(answer, Refused) else GraphError
        raise kind(f"{node.label}: {spelt_out(str(answer))}")


def _validated_names(node_class: type) -> tuple[str, ...]:
    check = node_class.__dict__.get("validate_inputs")
    return () if check is None else tuple(inspect.signature(check.__func__).parameters)[1:]


def named(node: GraphNode, error: WanDirectorError) -> WanDirectorError:
    """The same refusal with the node's name before the sentence."""
    return type(error)(f"{node.label}: {spelt_out(sentence(error))}")
