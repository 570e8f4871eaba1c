"""The server's format: for each node that runs, its class and its inputs by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....common.errors import GraphError
from ....common.log import logger
from .node import Graph, GraphNode, Link, shown


def is_api_format(data: Any) -> bool:
    """Whether parsed JSON has the form: at least one node says its class."""
    return isinstance(data, dict) and any(isinstance(node, dict) and "class_type" in node for node in data.values())


def api_graph(data: Mapping[str, Any]) -> Graph:
    """The nodes of a prompt, by id.

    Raises:
        GraphError: a node is not written as the server wants it.
    """
    return {id: _read_node(id, node) for id, node in data.items()}


def _read_node(id: str, node: Any) -> GraphNode:
    place = f"Node {shown(id)}"
    if not isinstance(node, dict):
        raise _wrong(place, "this node", "an object with class_type and inputs", node)
    class_type, inputs = node.get("class_type"), node.get("inputs", {})
    if not isinstance(class_type, str):
        raise _wrong(place, "class_type", 'the name of a class, such as "WanDirectorSampler"', class_type)
    if not isinstance(inputs, dict):
        raise _wrong(place, "inputs", "an object of values and wires by name", inputs)
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else meta
    if title is not None and not isinstance(title, str):
        logger.info("%s has a title that is no text; it goes by its class.", place)
        title = None
    return GraphNode(id, class_type, title or class_type, api_inputs(inputs))


def api_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Each input of a node, as `api_value`."""
    return {name: api_value(value) for name, value in inputs.items()}


def api_value(value: Any) -> Any:
    """An input of a node: a wire where it is ["node", output], a list where it is wrapped, else the value itself."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and _is_index(value[1]):
        return Link(value[0], int(value[1]))
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def as_prompt(graph: Graph) -> dict[str, Any]:
    """A graph in the server's format, which saved files carry."""
    return {
        node.id: {
            "class_type": node.class_type,
            "inputs": {name: _written(value) for name, value in node.inputs.items()},
            "_meta": {"title": node.title},
        }
        for node in graph.values()
    }


def _written(value: Any) -> Any:
    if isinstance(value, Link):
        return list(value)
    return {"__value__": value} if isinstance(value, list) else value


def _is_index(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1


def _wrong(place: str, what: str, expected: str, found: Any) -> GraphError:
    kind = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return GraphError(
        f"{place}: {what} must be {expected}, got {kind.get(type(found), 'a number')}. Export the workflow again with "
        "Export (API)."
    )
