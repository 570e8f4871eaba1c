"""NODE.INPUT=VALUE: setting a value of a workflow from outside, in its nodes and in the file that it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....common.errors import GraphError
from ....common.log import logger
from ..widgets import spec_of, widget_names
from .dynamic_prompts import resolved_prompt
from .node import Graph, GraphNode, shown
from .setting_canvas import set_in_canvas

_MOST_NAMES = 30


def set_value(
    graph: Graph, node_classes: Mapping[str, type], assignment: str, workflow: dict[str, Any] | None = None
) -> None:
    """Carries out NODE.INPUT=VALUE on a graph; NODE is an id, a title or a class.

    Args:
        graph: is changed.
        node_classes: by name.
        assignment: the text.
        workflow: the same in the canvas's format; is changed too, as if the value were typed into the canvas.

    Raises:
        GraphError: no or several such nodes, no such widget, or a value that is not of its type.
    """
    place, equals, text = assignment.partition("=")
    called, dot, name = place.rpartition(".")
    node, name = _find_place(graph, node_classes, called, name) if equals and dot else (None, name)
    if node is None:
        raise GraphError(f"'{shown(assignment)}' sets nothing. Write NODE.INPUT=VALUE, for example 3.seed=7.")
    types = node_classes[node.class_type].INPUT_TYPES()
    spec = spec_of(types, name, node.inputs)
    if spec is None or spec.widget is None:
        raise GraphError(
            f"{node.label} has no value '{shown(name)}' to set. It has: {', '.join(widget_names(types, node.inputs))}."
        )
    value = _parse(spec.widget, text, node, name)
    if workflow is not None:
        if not set_in_canvas(workflow, node_classes, node.id, name, value):
            logger.warning(
                "The workflow in the saved file keeps the old %s of %s: it lies in a group.", name, node.label
            )
        if spec.options.get("dynamicPrompts"):
            value = resolved_prompt(value)
            if value != text:
                logger.info("%s: %s is %r, drawn from its {choices} and without comments.", node.label, name, value)
    graph[node.id] = GraphNode(node.id, node.class_type, node.title, {**node.inputs, name: value})


def _find_place(graph: Graph, node_classes: Mapping[str, type], called: str, name: str) -> tuple[GraphNode, str]:
    """The node and the input; the input's name may have a dot of its own, as `mode.width`."""
    if called not in graph and "." in called:
        shorter, _, first = called.rpartition(".")
        dotted = f"{first}.{name}"
        meant = (node for node in graph.values() if shorter in (node.id, node.title, node.class_type))
        specs = (spec_of(node_classes[node.class_type].INPUT_TYPES(), dotted, node.inputs) for node in meant)
        if any(spec is not None for spec in specs):
            return _find_node(graph, shorter), dotted
    return _find_node(graph, called), name


def _find_node(graph: Graph, called: str) -> GraphNode:
    if called in graph:
        return graph[called]
    for attribute in ("title", "class_type"):
        found = [node for node in graph.values() if getattr(node, attribute) == called]
        if len(found) == 1:
            return found[0]
        if found:
            ids = _names([shown(node.id) for node in found])
            raise GraphError(f"{len(found)} nodes are called '{shown(called)}'. Use the id of one of them: {ids}.")
    names = _names([f"{shown(node.id)} ({shown(node.title)})" for node in graph.values()])
    raise GraphError(f"The workflow has no node '{shown(called)}'. It has: {names}.")


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _parse(kind: str, text: str, node: GraphNode, name: str) -> Any:
    try:
        if kind == "BOOLEAN":
            return {"true": True, "false": False}[text.lower()]
        return {"INT": int, "FLOAT": float}.get(kind, str)(text)
    except (ValueError, KeyError):
        wanted = {"INT": "a whole number", "FLOAT": "a number", "BOOLEAN": "true or false"}[kind]
        raise GraphError(f"{name} of {node.label} must be {wanted}, got '{shown(text)}'.") from None
