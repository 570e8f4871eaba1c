"""Reading a workflow file: the canvas's own format ("UI") or the server's ("API"), into one form.

The canvas keeps positions, notes and widget values in order; the server wants, for each node that runs, its class and
its inputs by name. The conversion does what the canvas does when a graph is queued.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...common.errors import GraphError, MissingFileError
from .widgets import is_control_value, widget_names, widget_type

MUTED, BYPASSED = 2, 4
NOTES = frozenset({"Note", "MarkdownNote"})
# Ids of the two nodes inside a subgraph that stand for its inputs and its outputs.
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = -10, -20


class Link(NamedTuple):
    """A wire: the node it comes from, and which of that node's outputs."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node that may run: `inputs` by name, each a value or a `Link`."""

    id: str
    class_type: str
    title: str
    inputs: Mapping[str, Any]

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.title} (node {self.id})"


Graph = dict[str, GraphNode]


def read_graph(path: Path, node_classes: Mapping[str, type]) -> tuple[Graph, dict | None]:
    """The nodes of a workflow file by id; and the file's content, if it is in the canvas's format.

    Raises:
        MissingFileError: there is no such file.
        GraphError: it is no workflow, or names a node that is not among `node_classes`.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no workflow file {path}. Give the path of a workflow saved as .json.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise GraphError(
            f"{path.name} is no JSON file. Give a workflow saved by ComfyUI with Save or Export (API)."
        ) from None
    return parse_graph(data, node_classes, path.name), data if "nodes" in data else None


def parse_graph(data: Any, node_classes: Mapping[str, type], name: str = "The workflow") -> Graph:
    """The nodes of a workflow in parsed JSON, by id; `name` is for messages, errors as `read_graph`."""
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        return _from_ui(data, node_classes)
    if (
        isinstance(data, dict)
        and data
        and all(isinstance(node, dict) and "class_type" in node for node in data.values())
    ):
        return {id: _from_api(id, node, node_classes) for id, node in data.items()}
    raise GraphError(f"{name} is JSON, but no workflow. Give a workflow saved by ComfyUI with Save or Export (API).")


def _from_api(id: str, node: dict[str, Any], node_classes: Mapping[str, type]) -> GraphNode:
    title = (node.get("_meta") or {}).get("title")
    check_known(id, node["class_type"], title, node_classes)
    inputs = {name: _api_value(value) for name, value in node.get("inputs", {}).items()}
    return GraphNode(id, node["class_type"], title or node["class_type"], inputs)


def _api_value(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
        return Link(value[0], value[1])
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def check_known(id: str, class_type: str, title: str | None, node_classes: Mapping[str, type]) -> None:
    """Refuses a node of a class that cannot be run here."""
    if class_type not in node_classes:
        called = f" '{title}'" if title and title != class_type else ""
        raise GraphError(
            f"Node {id}{called} is a {class_type}, which the command line does not know. It runs the nodes of Wan "
            "Director and some for loading pictures and videos; run this workflow in ComfyUI, or replace the node."
        )


class _Value(NamedTuple):
    """What a wire from a PrimitiveNode carries."""

    value: Any


class _Scope:
    """The nodes and wires of the workflow itself, or of one subgraph in it.

    `prefix` stands before the ids of the nodes inside; `outer` is where the subgraph's node lies, and that node.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        subgraphs: Mapping[str, dict],
        prefix: str = "",
        outer: tuple[_Scope, dict] | None = None,
    ) -> None:
        self.subgraphs = subgraphs
        self.prefix = prefix
        self.outer = outer
        self.inputs = data.get("inputs") or []
        self.nodes = {node["id"]: node for node in data["nodes"]}
        self.links = dict(_read_link(link) for link in data.get("links") or [])

    def inside(self, node: dict[str, Any]) -> _Scope:
        """The scope of a subgraph's node."""
        return _Scope(self.subgraphs[node["type"]], self.subgraphs, f"{self.prefix}{node['id']}:", (self, node))

    def running(self) -> Iterator[tuple[_Scope, dict[str, Any]]]:
        """Every node that runs, with its scope; subgraphs are entered."""
        for node in self.nodes.values():
            if node.get("mode", 0) in (MUTED, BYPASSED) or node["type"] in NOTES | {"Reroute", "PrimitiveNode"}:
                continue
            if node["type"] in self.subgraphs:
                yield from self.inside(node).running()
            else:
                yield self, node

    def source(self, link_id: int | None) -> Link | _Value | None:
        """What feeds a wire in the end, past reroutes, bypassed nodes and the edges of subgraphs; None when nothing."""
        if link_id is None or link_id not in self.links:
            return None
        origin, slot, _, _ = self.links[link_id]
        if origin == SUBGRAPH_INPUT:
            return self._source_outside(slot)
        node = self.nodes.get(origin)
        if node is None or node.get("mode", 0) == MUTED:
            return None
        if node.get("mode", 0) == BYPASSED:
            return self.source(_bypass(node, slot))
        if node["type"] == "Reroute":
            return self.source(node["inputs"][0].get("link"))
        if node["type"] == "PrimitiveNode":
            values = node.get("widgets_values") or []
            return _Value(values[0]) if values else None
        if node["type"] in self.subgraphs:
            return self.inside(node)._source_of_output(slot)
        return Link(f"{self.prefix}{origin}", slot)

    def _source_outside(self, slot: int) -> Link | _Value | None:
        scope, node = self.outer
        name = self.inputs[slot]["name"]
        return next((scope.source(each.get("link")) for each in node.get("inputs", []) if each["name"] == name), None)

    def _source_of_output(self, slot: int) -> Link | _Value | None:
        ends = (id for id, link in self.links.items() if link[2] == SUBGRAPH_OUTPUT and link[3] == slot)
        return self.source(next(ends, None))


def _from_ui(data: dict[str, Any], node_classes: Mapping[str, type]) -> Graph:
    try:
        subgraphs = {each["id"]: each for each in (data.get("definitions") or {}).get("subgraphs", [])}
        running = list(_Scope(data, subgraphs).running())
        nodes = [_convert(scope, node, node_classes) for scope, node in running]
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise GraphError(
            f"The workflow file is damaged ({type(error).__name__}: {error}). Save it again from ComfyUI."
        ) from None
    graph = {node.id: node for node in nodes}
    return {id: _without_lost_links(node, graph) for id, node in graph.items()}


def _convert(scope: _Scope, node: dict[str, Any], node_classes: Mapping[str, type]) -> GraphNode:
    id, class_type = f"{scope.prefix}{node['id']}", node["type"]
    check_known(id, class_type, node.get("title"), node_classes)
    types = node_classes[class_type].INPUT_TYPES()
    inputs = _widget_values(types, node.get("widgets_values"))
    for socket in node.get("inputs") or []:
        source = scope.source(socket.get("link"))
        if source is not None:
            inputs[socket["name"]] = source.value if isinstance(source, _Value) else source
    title = node.get("title") or getattr(node_classes[class_type].GET_SCHEMA(), "display_name", None) or class_type
    return GraphNode(id, class_type, title, inputs)


def _widget_values(types: Mapping[str, dict], values: list | dict | None) -> dict[str, Any]:
    """Widget values by name. A list holds them in the order of the inputs; a seed is followed by what to do with it."""
    if isinstance(values, dict):
        return {name: values[name] for name in widget_names(types) if name in values}
    rest = list(values or [])
    named: dict[str, Any] = {}
    for name in widget_names(types):
        if not rest:
            break
        named[name] = rest.pop(0)
        if rest and is_control_value(types, name, rest[0]):
            rest.pop(0)
    return named


def _without_lost_links(node: GraphNode, graph: Graph) -> GraphNode:
    """Leaves out wires from nodes that do not run (muted ones)."""
    kept = {name: value for name, value in node.inputs.items() if not isinstance(value, Link) or value.node in graph}
    return GraphNode(node.id, node.class_type, node.title, kept)


def _bypass(node: dict[str, Any], slot: int) -> int | None:
    """The wire that a bypassed node passes on at an output: of the input beside it if that has the type, else of the
    first that has."""
    wanted = node["outputs"][slot]["type"]
    inputs = node.get("inputs") or []
    if slot < len(inputs) and inputs[slot]["type"] == wanted:
        return inputs[slot].get("link")
    return next((each.get("link") for each in inputs if each["type"] == wanted), None)


def _read_link(link: list | dict) -> tuple[int, tuple[int, int, int, int]]:
    if isinstance(link, dict):
        return link["id"], (link["origin_id"], link["origin_slot"], link["target_id"], link["target_slot"])
    return link[0], (link[1], link[2], link[3], link[4])


def set_value(graph: Graph, node_classes: Mapping[str, type], assignment: str) -> None:
    """Carries out NODE.INPUT=VALUE on a graph; NODE is an id, a title or a class.

    Raises:
        GraphError: no or several such nodes, no such widget, or a value that is not of its type.
    """
    place, equals, text = assignment.partition("=")
    called, dot, name = place.rpartition(".")
    if not equals or not dot:
        raise GraphError(f"'{assignment}' sets nothing. Write NODE.INPUT=VALUE, for example 3.seed=7.")
    node = _find_node(graph, called)
    types = node_classes[node.class_type].INPUT_TYPES()
    kind = widget_type(types, name)
    if kind is None:
        raise GraphError(f"{node.label} has no value '{name}' to set. It has: {', '.join(widget_names(types))}.")
    graph[node.id] = GraphNode(
        node.id, node.class_type, node.title, {**node.inputs, name: _parse(kind, text, node, name)}
    )


def _find_node(graph: Graph, called: str) -> GraphNode:
    if called in graph:
        return graph[called]
    for attribute in ("title", "class_type"):
        found = [node for node in graph.values() if getattr(node, attribute) == called]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(node.id for node in found)
            raise GraphError(f"{len(found)} nodes are called '{called}'. Use the id of one of them: {ids}.")
    names = ", ".join(f"{node.id} ({node.title})" for node in graph.values())
    raise GraphError(f"The workflow has no node '{called}'. It has: {names}.")


def _parse(kind: str, text: str, node: GraphNode, name: str) -> Any:
    try:
        if kind == "BOOLEAN":
            return {"true": True, "false": False}[text.lower()]
        return {"INT": int, "FLOAT": float}.get(kind, str)(text)
    except (ValueError, KeyError):
        wanted = {"INT": "a whole number", "FLOAT": "a number", "BOOLEAN": "true or false"}[kind]
        raise GraphError(f"{name} of {node.label} must be {wanted}, got '{text}'.") from None
