"""Writing a value into a workflow in the canvas's format, where the canvas would keep it.

Saved files carry the workflow. Opened again, it must queue the value that ran: so a value that a subgraph's own node
holds goes there; a subgraph that several nodes stand for is copied before one of them changes inside; and a wire that
fed the input is taken off.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping
from typing import Any

from ..widgets import inputs_of, places_in_list
from .canvas import Opened
from .canvas_file import SUBGRAPH_INPUT, CanvasNode, CanvasScope, read_canvas
from .promoted import OWN, proxies

Json = dict[str, Any]


def set_in_canvas(workflow: Json, node_classes: Mapping[str, type], id: str, name: str, value: Any) -> bool:
    """Sets a widget of the node with that id ("5", or "12:5" inside a subgraph's node).

    Args:
        workflow: is changed.
        node_classes: by name.
        id: as in the server's format.
        name: of the widget.
        value: is written as it is.

    Returns:
        Whether the workflow has such a node.
    """
    return _Setting(workflow, node_classes).set(id.split(":"), name, value)


class _Setting:
    """One workflow, as JSON that is changed and as records that say what is where."""

    def __init__(self, workflow: Json, node_classes: Mapping[str, type]) -> None:
        self._workflow = workflow
        self._file = read_canvas(workflow)
        self._opened = Opened(self._file, node_classes)

    def set(self, path: list[str], name: str, value: Any) -> bool:
        scopes: list[CanvasScope] = [self._file.root]
        nodes: list[CanvasNode] = []
        for each in path:
            node = scopes[-1].nodes.get(each) if len(scopes) > len(nodes) else None
            if node is None:
                return False
            nodes.append(node)
            if node.type in self._file.subgraphs:
                scopes.append(self._file.subgraphs[node.type])
        level = len(path) - 1
        node = nodes[level]
        while level and (outside := _fed_from_outside(scopes[level], node, name)) is not None:
            slot = nodes[level - 1].slot(outside)
            is_wired = slot is not None and slot.link is not None
            if not is_wired and not self._opened.promoted.has_widget(nodes[level - 1], outside):
                break
            level -= 1
            node, name = nodes[level], outside
            if not is_wired:
                break
        _take_off_wire(self._scope(path[:level]), path[level], name)
        self._write(path[: level + 1], node, name, value)
        return True

    def _write(self, path: list[str], node: CanvasNode, name: str, value: Any) -> None:
        written = _node(self._scope(path[:-1]), path[-1])
        if isinstance(written.get("widgets_values_named"), dict):
            written["widgets_values_named"][name] = value
        if node.type not in self._file.subgraphs:
            _write_value(written, name, value, self._opened.types[node.type])
        elif not self._write_promoted(written, node, name, value):
            found = self._opened.promoted.source(self._file.subgraphs[node.type], name)
            assert found is not None, "an input that is climbed to leads to the widget it was climbed from"
            inner, slot = found
            self._write([*path, inner.id], inner, slot.name, value)

    def _write_promoted(self, written: Json, host: CanvasNode, name: str, value: Any) -> bool:
        """Sets what a subgraph's own node holds for an input; False when it holds nothing and the inside counts."""
        values, promoted = written.get("widgets_values"), self._opened.promoted
        if name not in host.promoted:
            return False
        _forget_quarantined(written, name)
        if isinstance(values, dict):
            values[name] = value
            return True
        names = [promoted.input_for(host, *entry) for entry in proxies(host)]
        if isinstance(values, list) and name in names and names.index(name) < len(host.values):
            values[names.index(name)] = value
        elif names:
            _quarantine(written, name, value)
        else:
            inputs = self._file.subgraphs[host.type].inputs
            names = [each.name for each in inputs if promoted.has_widget(host, each.name)]
            filled = [*(values or []), *(promoted.value(host, each) for each in names[len(values or []) :])]
            filled[names.index(name)] = value
            written["widgets_values"] = filled
        return True

    def _scope(self, path: list[str]) -> Json:
        """The nodes behind a way through subgraphs' nodes; a subgraph that another node stands for too is copied."""
        scope = self._workflow
        for each in path:
            host = _node(scope, each)
            known = self._workflow["definitions"]["subgraphs"]
            scope = next(subgraph for subgraph in known if subgraph["id"] == host["type"])
            if self._is_shared(host["type"]):
                scope = copy.deepcopy(scope)
                taken = {subgraph["id"] for subgraph in known}
                ids = (
                    str(uuid.uuid5(uuid.NAMESPACE_OID, f"{host['type']} {number}")) for number in range(len(known) + 1)
                )
                host["type"] = scope["id"] = next(id for id in ids if id not in taken)
                known.append(scope)
        return scope

    def _is_shared(self, type: str) -> bool:
        scopes = [self._workflow, *self._workflow["definitions"]["subgraphs"]]
        return sum(node["type"] == type for scope in scopes for node in scope.get("nodes") or []) > 1


def _fed_from_outside(scope: CanvasScope, node: CanvasNode, name: str) -> str | None:
    """The name of the subgraph's input that feeds an input of a node inside, and no other."""
    slot = node.slot(name)
    wire = scope.wires.get(slot.link) if slot and slot.link is not None else None
    if wire is None or wire.origin != SUBGRAPH_INPUT or not 0 <= wire.origin_slot < len(scope.inputs):
        return None
    fed = [each for each in scope.wires.values() if each.origin == SUBGRAPH_INPUT]
    is_alone = sum(each.origin_slot == wire.origin_slot for each in fed) == 1
    return scope.inputs[wire.origin_slot].name if is_alone else None


def _forget_quarantined(written: Json, name: str) -> None:
    properties = written.get("properties") or {}
    entries = properties.get("proxyWidgetErrorQuarantine")
    if isinstance(entries, list):
        kept = [each for each in entries if not (isinstance(each, dict) and each.get("originalEntry") == [OWN, name])]
        properties["proxyWidgetErrorQuarantine"] = kept


def _quarantine(written: Json, name: str, value: Any) -> None:
    entry = {"originalEntry": [OWN, name], "reason": "missingSourceNode", "attemptedAtVersion": 1, "hostValue": value}
    written["properties"].setdefault("proxyWidgetErrorQuarantine", []).append(entry)


def _take_off_wire(scope: Json, id: str, name: str) -> None:
    slot = next((each for each in _node(scope, id).get("inputs") or [] if each["name"] == name), None)
    if slot is None or slot.get("link") is None:
        return
    link, slot["link"] = slot["link"], None
    scope["links"] = [each for each in scope.get("links") or [] if not each or _link_id(each) != link]
    ends = [output.get("links") for node in scope.get("nodes") or [] for output in node.get("outputs") or []]
    ends += [each.get("linkIds") for each in scope.get("inputs") or []]
    for each in ends:
        if isinstance(each, list) and link in each:
            each.remove(link)


def _write_value(written: Json, name: str, value: Any, types: Mapping[str, dict]) -> None:
    values = written.get("widgets_values")
    if isinstance(values, dict):
        values[name] = value
        return
    values = written["widgets_values"] = list(values or [])
    places = dict(places_in_list(types, values))
    defaults = {places[each.name]: each.options.get("default") for each in inputs_of(types) if each.name in places}
    values += [defaults.get(index) for index in range(len(values), places[name] + 1)]
    values[places[name]] = value


def _node(scope: Json, id: str) -> Json:
    return next(node for node in scope["nodes"] if str(node["id"]) == id)


def _link_id(link: Any) -> Any:
    return link["id"] if isinstance(link, dict) else link[0]
