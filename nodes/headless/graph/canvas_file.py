"""The canvas's format as typed records: what a workflow, or one subgraph in it, holds.

What decides about a run must be of its type; what only decorates (titles, properties) is left out where it is not.
Sources: the files of ComfyUI's front ends 1.16 to 1.58, whose formats differ in how links and widget values lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeGuard

from ....common.errors import GraphError
from .node import shown

ACTIVE, MUTED, BYPASSED = 0, 2, 4
# Ids of the two nodes inside a subgraph that stand for its inputs and its outputs.
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
ANY = "*"
MOST_NODES = 100_000
"""That a workflow may stand for."""
MOST_SLOTS = 4096
"""Of one node; those in use have a hundred."""


@dataclass(slots=True)
class Slot:
    """An input of a node: `link` is the id of its wire, `is_widget` whether it was saved as one of a widget."""

    name: str
    type: str
    link: str | None = None
    is_widget: bool = False


@dataclass(slots=True)
class CanvasNode:
    """A node as it was saved; `promoted`: what a subgraph's own node sets inside, by the name of the input."""

    id: str
    type: str
    mode: int
    title: str | None
    inputs: list[Slot]
    outputs: list[str]
    values: list | dict
    named: dict[str, Any]
    properties: dict[str, Any]
    promoted: dict[str, Any] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Neither muted nor bypassed."""
        return self.mode not in (MUTED, BYPASSED)

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{shown(self.title or self.type)} (node {shown(self.id)})"

    def slot(self, name: str) -> Slot | None:
        """The input of that name."""
        return next((each for each in self.inputs if each.name == name), None)


@dataclass(slots=True)
class Wire:
    """A link between two nodes of one scope."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(slots=True)
class SubgraphInput:
    """An input of a subgraph: the wires from it inside, in order."""

    name: str
    type: str
    links: list[str]


@dataclass(slots=True)
class CanvasScope:
    """The nodes and wires of a workflow, or of a subgraph; `outputs`: which wire feeds each output of a subgraph."""

    id: str
    nodes: dict[str, CanvasNode]
    wires: dict[str, Wire]
    inputs: list[SubgraphInput]
    outputs: dict[int, str]

    def target(self, link: str) -> tuple[CanvasNode, Slot] | None:
        """The node and the input that a wire leads to."""
        wire = self.wires.get(link)
        node = self.nodes.get(wire.target) if wire else None
        if node is None:
            return None
        slot = next((each for each in node.inputs if each.link == link), None)
        return (node, slot) if slot else None


@dataclass(slots=True)
class CanvasFile:
    """A workflow with the subgraphs it uses, by id."""

    root: CanvasScope
    subgraphs: dict[str, CanvasScope]
    group_nodes: dict[str, Any]

    @property
    def scopes(self) -> Iterator[CanvasScope]:
        """The subgraphs, and the workflow itself."""
        yield from self.subgraphs.values()
        yield self.root


def read_canvas(data: dict[str, Any]) -> CanvasFile:
    """A workflow's parsed JSON as records.

    Raises:
        GraphError: the file is damaged; the message says where.
    """
    definitions = _object(data.get("definitions"), "definitions")
    subgraphs = [_read_scope(each, "a subgraph") for each in _objects(definitions.get("subgraphs"), "subgraphs")]
    extra = data.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, dict) else None
    root = _read_scope({**data, "id": "", "inputs": None}, "the workflow")
    return CanvasFile(root, {each.id: each for each in subgraphs}, groups if isinstance(groups, dict) else {})


def _read_scope(data: dict[str, Any], place: str) -> CanvasScope:
    id = data.get("id")
    if not isinstance(id, str):
        damaged(f"{place} has no id")
    name = f"subgraph {shown(data.get('name') or id)}" if id else place
    nodes: dict[str, CanvasNode] = {}
    for each in _objects(data.get("nodes"), f"the nodes of {name}"):
        node = read_node(each, name)
        if node.id in nodes:
            damaged(f"two nodes of {name} have the id {shown(node.id)}")
        nodes[node.id] = node
    wires = dict(_read_wire(each, name) for each in _list(data.get("links"), f"the links of {name}") if each)
    inputs = [_read_input(each, name) for each in _objects(data.get("inputs"), f"the inputs of {name}")]
    outputs: dict[int, str] = {}
    for link, wire in wires.items():
        if wire.target == SUBGRAPH_OUTPUT:
            outputs.setdefault(wire.target_slot, link)
        elif wire.origin == SUBGRAPH_INPUT and 0 <= wire.origin_slot < len(inputs):
            known = inputs[wire.origin_slot].links
            known += [link] if link not in known else []
    return CanvasScope(id, nodes, wires, inputs, outputs)


def read_node(data: dict[str, Any], place: str) -> CanvasNode:
    """One node's JSON as a record; `place` is for messages."""
    id, type, mode, title = data.get("id"), data.get("type"), data.get("mode"), data.get("title")
    if not _is_id(id):
        damaged(f"a node of {place} has no id")
    if not isinstance(type, str):
        damaged(f"node {shown(id)} of {place} does not say its type")
    where = f"node {shown(id)} of {place}"
    if mode is not None and not _is_id(mode):
        damaged(f"the mode of {where} is no number")
    values = data.get("widgets_values")
    if not isinstance(values, list | dict | None):
        damaged(f"the widget values of {where} are no list")
    named, properties = data.get("widgets_values_named"), data.get("properties")
    return CanvasNode(
        id=_id(id),
        type=type,
        mode=mode if isinstance(mode, int) else ACTIVE,
        title=title if isinstance(title, str) and title else None,
        inputs=[_read_slot(each, where) for each in _objects(data.get("inputs"), f"the inputs of {where}")],
        outputs=[_type(each.get("type")) for each in _objects(data.get("outputs"), f"the outputs of {where}")],
        values=[] if values is None else values,
        named=named if isinstance(named, dict) else {},
        properties=properties if isinstance(properties, dict) else {},
    )


def _read_slot(data: dict[str, Any], where: str) -> Slot:
    name, link, widget = data.get("name"), data.get("link"), data.get("widget")
    if not isinstance(name, str):
        damaged(f"an input of {where} has no name")
    if link is not None and not _is_id(link):
        damaged(f"the link of input {shown(name)} of {where} is no number")
    return Slot(name, _type(data.get("type")), None if link is None else _id(link), isinstance(widget, dict))


def _read_input(data: dict[str, Any], where: str) -> SubgraphInput:
    name = data.get("name")
    if not isinstance(name, str):
        damaged(f"an input of {where} has no name")
    links = _list(data.get("linkIds"), f"the links of input {shown(name)} of {where}")
    return SubgraphInput(name, _type(data.get("type")), [_id(each) for each in links if _is_id(each)])


def _read_wire(data: Any, where: str) -> tuple[str, Wire]:
    if isinstance(data, dict):
        parts = [data.get(name) for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    else:
        parts = data[:5] if isinstance(data, list) else []
    known = [each for each in parts if _is_id(each)]
    if len(known) < 5:
        damaged(f"a link of {where} does not say where it comes from and leads to")
    id, origin, origin_slot, target, target_slot = known
    if not isinstance(origin_slot, int) or not isinstance(target_slot, int):
        damaged(f"link {shown(id)} of {where} does not number its ends")
    return _id(id), Wire(_id(origin), origin_slot, _id(target), target_slot)


def damaged(reason: str) -> NoReturn:
    """Refuses a file: `reason` says what is wrong in it."""
    raise GraphError(f"The workflow file is damaged ({reason}). Save it again from ComfyUI.")


def _is_id(value: Any) -> TypeGuard[int | str]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _id(value: int | str) -> str:
    return str(value)


def _type(value: Any) -> str:
    """A slot's type; choices written out as a list are a COMBO, and the numbers of old files stand for any."""
    if isinstance(value, list):
        return "COMBO"
    return value if isinstance(value, str) and value else ANY


def _object(value: Any, what: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        damaged(f"{what} is no object")
    return value or {}


def _list(value: Any, what: str) -> list:
    if value is not None and not isinstance(value, list):
        damaged(f"{what} are no list")
    return value or []


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    entries = _list(value, what)
    if not all(isinstance(each, dict) for each in entries):
        damaged(f"{what} are no list of objects")
    if what.startswith(("the inputs", "the outputs")) and len(entries) > MOST_SLOTS:
        damaged(f"{what} are {len(entries):,}")
    return entries
