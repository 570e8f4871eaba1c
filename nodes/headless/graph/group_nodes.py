"""Group nodes, the forerunner of subgraphs: `workflow>name`, whose inside lies in the workflow's `extra.groupNodes`.

Each becomes a subgraph of its own. Its sockets are those of the nodes inside that nothing inside is wired to, in order;
its widget values are theirs, one node after the other.
Source: ComfyUI's front end 1.58.1, extensions/core/groupNode.ts (the rules; the code is our own).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..widgets import inputs_of, is_control, places_in_list
from .canvas_file import (
    ANY,
    MOST_NODES,
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    CanvasFile,
    CanvasNode,
    CanvasScope,
    Slot,
    SubgraphInput,
    Wire,
    damaged,
    read_node,
)
from .node import shown
from .virtual_nodes import DECORATION, PRIMITIVE
from .widget_values import own_values

SEPARATORS = ("workflow>", "workflow/")


class _Socket(NamedTuple):
    """A socket of the group: its name there, and the node and the input inside."""

    name: str
    node: CanvasNode
    slot: Slot


def open_group_nodes(file: CanvasFile, node_classes: Mapping[str, type]) -> None:
    """Replaces the group nodes of a file by subgraphs.

    Raises:
        GraphError: what is known of a group is damaged.
    """
    opened = 0
    for scope in list(file.scopes):
        for node in scope.nodes.values():
            name = next((node.type.removeprefix(each) for each in SEPARATORS if node.type.startswith(each)), None)
            if name is None or name not in file.group_nodes:
                continue
            group = _Group(file.group_nodes[name], f"group {shown(name)}", node_classes)
            opened += len(group.nodes)
            if opened > MOST_NODES:
                damaged(f"its group nodes stand for more than {MOST_NODES:,} nodes")
            inside = group.opened(node)
            inside.id = f"{node.type} {scope.id} {node.id}"
            node.type = inside.id
            file.subgraphs[inside.id] = inside


class _Group:
    """What a group node holds, read anew for each node that stands for it."""

    def __init__(self, data: Any, name: str, node_classes: Mapping[str, type]) -> None:
        if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
            damaged(f"{name} lists no nodes")
        self.name = name
        self.classes = node_classes
        inner = [each if isinstance(each, dict) else {} for each in data["nodes"]]
        self.nodes = [read_node({**each, "id": index}, name) for index, each in enumerate(inner)]
        self.links = [each[:4] for each in _listed(data.get("links")) if self._is_inside(each)]
        self.outside = {tuple(each[:2]) for each in _listed(data.get("external")) if _are_numbers(each, 2)}
        self.config = data.get("config") if isinstance(data.get("config"), dict) else {}

    def opened(self, host: CanvasNode) -> CanvasScope:
        """The inside as a subgraph, with the wires and the values of the group's node `host`."""
        scope = CanvasScope("", {node.id: node for node in self.nodes}, {}, [], {})
        for number, (origin, slot, target, target_slot) in enumerate(self.links):
            scope.wires[f"inside {number}"] = Wire(str(origin), slot, str(target), target_slot)
            self.nodes[target].inputs[target_slot].link = f"inside {number}"
        for number, (name, node, slot) in enumerate(self._sockets()):
            slot.link = f"in {number}"
            scope.wires[slot.link] = Wire(SUBGRAPH_INPUT, number, node.id, node.inputs.index(slot))
            scope.inputs.append(SubgraphInput(name, slot.type, [slot.link]))
        for number, (node, slot) in enumerate(self._outputs()):
            scope.outputs[number] = f"out {number}"
            scope.wires[f"out {number}"] = Wire(node.id, slot, SUBGRAPH_OUTPUT, number)
        self._take_values(host)
        _name_as_inside(host, scope)
        host.values, host.named = [], {}
        return scope

    def _is_inside(self, link: Any) -> bool:
        if not _are_numbers(link, 4):
            return False
        origin, _, target, target_slot = link[:4]
        return (
            0 <= origin < len(self.nodes)
            and 0 <= target < len(self.nodes)
            and 0 <= target_slot < len(self.nodes[target].inputs)
        )

    def _sockets(self) -> list[_Socket]:
        seen: dict[str, int] = {}
        plain, converted = [], []
        for node in self.nodes:
            if node.type in DECORATION:
                continue
            for name in self._widgets(node):
                if not _was_converted(node, name):
                    _free_name(node, name, seen)
            free = [slot for slot in node.inputs if slot.link is None]
            shown_ones = [slot for slot in free if self._is_shown(node, "input", slot.name)]
            plain += [
                _Socket(_free_name(node, slot.name or slot.type, seen), node, slot)
                for slot in shown_ones
                if not slot.is_widget
            ]
            converted += [(node, slot) for slot in shown_ones if slot.is_widget]
        return plain + [_Socket(_free_name(node, slot.name, seen), node, slot) for node, slot in converted]

    def _outputs(self) -> Iterator[tuple[CanvasNode, int]]:
        used = {(origin, slot) for origin, slot, _, _ in self.links} - self.outside
        for index, node in enumerate(self.nodes):
            known = self.classes.get(node.type)
            count = len(known.RETURN_TYPES) if known else len(node.outputs)
            for slot in range(count if node.type not in DECORATION else 0):
                if self._is_shown(node, "output", str(slot), (index, slot) not in used):
                    yield node, slot

    def _is_shown(self, node: CanvasNode, group: str, name: str, default: bool = True) -> bool:
        place: Any = self.config
        for key in (node.id, group, name):
            place = place.get(key) if isinstance(place, dict) else None
        visible = place.get("visible") if isinstance(place, dict) else None
        return visible if isinstance(visible, bool) else default

    def _widgets(self, node: CanvasNode) -> list[str]:
        known = self.classes.get(node.type)
        return [each.name for each in inputs_of(known.INPUT_TYPES()) if each.widget] if known else []

    def _take_values(self, host: CanvasNode) -> None:
        """Hands the values of the group's node to the nodes inside."""
        rest = list(host.values) if isinstance(host.values, list) else []
        for node in self.nodes:
            known = self.classes.get(node.type)
            if node.type == PRIMITIVE:
                node.values = rest[:1] or node.values
                rest = rest[2:] if is_control(rest[1:2] and rest[1]) else rest[1:]
            elif known is not None:
                types = {
                    group: {name: spec for name, spec in (inputs or {}).items() if not _was_converted(node, name)}
                    for group, inputs in known.INPUT_TYPES().items()
                }
                places = [(name, place) for name, place in places_in_list(types, rest) if place < len(rest)]
                node.values = own_values(node, known.INPUT_TYPES()) | {name: rest[place] for name, place in places}
                last = places[-1][1] + 1 if places else 0
                rest = rest[last + is_control(rest[last : last + 1] and rest[last]) :]
            elif node.type not in DECORATION:
                rest = rest[len(node.values) :]


def _name_as_inside(host: CanvasNode, scope: CanvasScope) -> None:
    """Gives the sockets of the group's node the names that were made for its inside, where they differ."""
    names = [each.name for each in scope.inputs if host.slot(each.name) is None]
    known = {each.name for each in scope.inputs}
    types = {each.name: each.type for each in scope.inputs}
    for slot in host.inputs:
        if slot.name not in known:
            fitting = next((name for name in names if types[name] in (slot.type, ANY)), None)
            if fitting is not None:
                names.remove(fitting)
                slot.name = fitting


def _free_name(node: CanvasNode, name: str, seen: dict[str, int]) -> str:
    key = name
    if (node.type == PRIMITIVE and node.title) or name in seen:
        prefix = node.title or node.type
        key = f"{prefix} {name}"
        name = f"{prefix} {seen[key]} {name}" if key in seen else key
    seen[key] = seen.get(key, 1) + 1
    return name


def _was_converted(node: CanvasNode, name: str) -> bool:
    slot = node.slot(name)
    return slot is not None and slot.is_widget


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _are_numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= count
        and all(isinstance(each, int) and not isinstance(each, bool) for each in value[:count])
    )
