"""What a subgraph's own node sets inside it.

Its inputs that lead to a widget have that widget too, and its value, which two nodes of one subgraph may hold
differently, wins over what the widget inside was left with. Files say it in three forms, which front end 1.58.1 reads
like this (SubgraphNode.configure and proxyWidgetMigration; the code is our own):

a) `widgets_values` has one value for each such input, in the subgraph's order; `widgets_values_named` has them by name;
b) `properties.proxyWidgets` lists (node inside, widget), and value i belongs to entry i; "-1" for the node inside names
   an input of the subgraph. A widget that no input leads to gets one;
c) `proxyWidgets` without values: what the widgets inside hold counts.

Values in `proxyWidgetErrorQuarantine` come before the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .canvas_file import ANY, SUBGRAPH_INPUT, CanvasFile, CanvasNode, CanvasScope, Slot, SubgraphInput, Wire, damaged
from .node import shown
from .virtual_nodes import PRIMITIVE, first_value
from .widget_values import named_values

DEEPEST = 100
"""Subgraphs within each other, as on the canvas."""
MOST_PROXIES = 1000
OWN = "-1"
_LEGACY_PREFIX = re.compile(r"\s*\d+\s*:\s*(.+)", re.DOTALL)

IsWidget = Callable[[CanvasNode, Slot], bool]
"""Whether an input of a node is a widget's."""


class PromotedWidgets:
    """Fills `CanvasNode.promoted` of every subgraph's node in a file, and answers for it.

    Args:
        file: is changed: inputs that form (b) implies are added to its subgraphs.
        is_widget: about nodes that are no subgraphs.
        value_of: what a widget of such a node holds, by its name.
    """

    def __init__(
        self, file: CanvasFile, is_widget: IsWidget, value_of: Callable[[CanvasNode, str], Any | None]
    ) -> None:
        self._subgraphs = file.subgraphs
        self._is_widget = is_widget
        self._value_of = value_of
        self._sources: dict[tuple[str, str], tuple[CanvasNode, Slot] | None] = {}
        self._nulls: list[tuple[CanvasNode, str]] = []
        for scope in [*(file.subgraphs[id] for id in inner_first(file)), file.root]:
            hosts = [node for node in scope.nodes.values() if node.type in file.subgraphs]
            for host in hosts:
                self._read_list(host)
            for host in hosts:
                self._read_proxies(host)

    def value(self, host: CanvasNode, name: str) -> Any | None:
        """What a subgraph's node says for its input of that name; the first widget inside where it says nothing."""
        while name not in host.promoted:
            inner = self.source(self._subgraphs[host.type], name)
            if inner is None:
                return None
            node, slot = inner
            if node.type not in self._subgraphs:
                return self._value_of(node, slot.name)
            host, name = node, slot.name
        return host.promoted[name]

    def left_inside(self) -> list[str]:
        """The widgets, as messages call them, for which a subgraph's node holds null: what they hold inside counts."""
        free = [
            (host, name)
            for host, name in self._nulls
            if name not in host.promoted and getattr(host.slot(name), "link", None) is None
        ]
        return list(dict.fromkeys(f"{shown(name)} of {host.label}" for host, name in free))

    def has_widget(self, host: CanvasNode, name: str) -> bool:
        """Whether an input of a subgraph's node leads to a widget."""
        return self.source(self._subgraphs[host.type], name) is not None

    def source(self, subgraph: CanvasScope, name: str) -> tuple[CanvasNode, Slot] | None:
        """The first widget that an input of a subgraph leads to: a node inside, and its input."""
        key = (subgraph.id, name)
        if key not in self._sources:
            self._sources[key] = self._find_source(subgraph, name)
        return self._sources[key]

    def _find_source(self, subgraph: CanvasScope, name: str) -> tuple[CanvasNode, Slot] | None:
        entry = next((each for each in subgraph.inputs if each.name == name), None)
        for link in entry.links if entry else ():
            found = subgraph.target(link)
            if found and self._leads_to_widget(*found):
                return found
        return None

    def _leads_to_widget(self, node: CanvasNode, slot: Slot) -> bool:
        if node.type in self._subgraphs:
            return self.source(self._subgraphs[node.type], slot.name) is not None
        return self._is_widget(node, slot)

    def _read_list(self, host: CanvasNode) -> None:
        """Form (a)."""
        names = [each.name for each in self._subgraphs[host.type].inputs if self.has_widget(host, each.name)]
        listed = named_values(host) or {**dict(zip(names, host.values)), **host.named}
        kept = quarantined(host)
        for name in names:
            for values in (kept, listed):
                if values.get(name) is not None:
                    host.promoted[name] = values[name]
                    break
            else:
                if name in listed:
                    self._nulls.append((host, name))

    def _read_proxies(self, host: CanvasNode) -> None:
        """Forms (b) and (c)."""
        values = host.values if isinstance(host.values, list) else []
        for index, (inner, widget) in enumerate(proxies(host)):
            name = self.input_for(host, inner, widget)
            node = self._subgraphs[host.type].nodes.get(inner)
            if name is not None and index < len(values) and values[index] is not None:
                host.promoted[name] = values[index]
                continue
            if name is not None and index < len(values):
                self._nulls.append((host, name))
            if name is not None and node is not None and node.type == PRIMITIVE:
                host.promoted.setdefault(name, first_value(node))

    def input_for(self, host: CanvasNode, inner: str, widget: str) -> str | None:
        """The subgraph's input that stands for a widget inside; it is added where there is none."""
        subgraph = self._subgraphs[host.type]
        if inner == OWN:
            return widget if self.has_widget(host, widget) else None
        node = subgraph.nodes.get(inner)
        if node is None:
            return None
        if node.type == PRIMITIVE:
            return self._input_for_primitive(subgraph, node, widget)
        slot = self._slot(node, widget)
        if slot is None:
            return None
        for each in subgraph.inputs:
            found = self.source(subgraph, each.name)
            if found and found[0] is node and found[1].name == slot.name:
                return each.name
        return self._add_input(subgraph, widget, slot.type, [(node, slot)])

    def _slot(self, node: CanvasNode, widget: str) -> Slot | None:
        """The input of a widget, by its name or that of the widget deeper inside; saved files may leave it out."""
        plain = _LEGACY_PREFIX.sub(r"\1", widget)
        if node.type in self._subgraphs:
            subgraph = self._subgraphs[node.type]
            sources = {each.name: self.source(subgraph, each.name) for each in subgraph.inputs}
            names = [name for name, found in sources.items() if found and plain in (name, found[1].name)]
            name = plain if plain in names else next(iter(names), None)
            return _own_slot(node, name) if name else None
        slot = node.slot(plain) or Slot(plain, ANY, None, is_widget=False)
        return _own_slot(node, plain) if self._is_widget(node, slot) else None

    def _input_for_primitive(self, subgraph: CanvasScope, node: CanvasNode, widget: str) -> str | None:
        """A primitive inside that is shown outside: an input takes its place."""
        wires = [id for id, wire in subgraph.wires.items() if wire.origin == node.id]
        targets = [target for id in wires if (target := subgraph.target(id)) is not None]
        if node.properties.get("taken_over"):
            return node.properties["taken_over"]
        if not targets:
            return None
        title = node.title if node.title not in (None, PRIMITIVE) else widget
        name = self._add_input(subgraph, title, node.outputs[0] if node.outputs else ANY, targets)
        node.properties = {**node.properties, "taken_over": name}
        targets[0][1].is_widget = True
        return name

    def _add_input(self, subgraph: CanvasScope, name: str, type: str, targets: list[tuple[CanvasNode, Slot]]) -> str:
        """Adds an input of a name that is free, wired to inputs of nodes inside."""
        taken = {each.name for each in subgraph.inputs}
        free = next(each for each in _numbered(name) if each not in taken)
        links = []
        for node, slot in targets:
            slot.link = next(each for each in _numbered(f"added {len(subgraph.wires)}") if each not in subgraph.wires)
            subgraph.wires[slot.link] = Wire(SUBGRAPH_INPUT, len(subgraph.inputs), node.id, node.inputs.index(slot))
            links.append(slot.link)
        subgraph.inputs.append(SubgraphInput(free, type, links))
        self._sources.clear()
        return free


def inner_first(file: CanvasFile) -> list[str]:
    """The ids of the subgraphs, each after those it holds.

    Raises:
        GraphError: one holds itself, or they lie too deep within each other.
    """
    depths: dict[str, int] = {}
    above: list[tuple[str, Iterator[str]]] = []
    for start in file.subgraphs:
        above = [(start, _held(file, start))] if start not in depths else []
        while above:
            id, rest = above[-1]
            inner = next(rest, None)
            if inner is None:
                depths[id] = 1 + max((depths[each] for each in _held(file, id)), default=0)
                above.pop()
            elif any(inner == each for each, _ in above):
                damaged(f"subgraph {shown(inner)} holds itself")
            elif inner not in depths:
                above.append((inner, _held(file, inner)))
            if len(above) > DEEPEST:
                damaged(f"more than {DEEPEST} subgraphs lie within each other")
    if max(depths.values(), default=0) > DEEPEST:
        damaged(f"more than {DEEPEST} subgraphs lie within each other")
    return sorted(depths, key=lambda id: depths[id])


def _held(file: CanvasFile, id: str) -> Iterator[str]:
    return (node.type for node in file.subgraphs[id].nodes.values() if node.type in file.subgraphs)


def proxies(host: CanvasNode) -> Iterator[tuple[str, str]]:
    """(node inside, widget) of each entry of `proxyWidgets`."""
    entries = host.properties.get("proxyWidgets")
    entries = entries if isinstance(entries, list) else []
    if len(entries) > MOST_PROXIES:
        damaged(f"{host.label} shows {len(entries):,} widgets")
    return (_pair(entry) for entry in entries)


def quarantined(host: CanvasNode) -> Mapping[str, Any]:
    """Values by the name of the subgraph's input that come before the list."""
    entries = host.properties.get("proxyWidgetErrorQuarantine")
    kept: dict[str, Any] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and "hostValue" in entry:
            inner, name = _pair(entry.get("originalEntry"))
            if inner == OWN:
                kept.setdefault(name, entry["hostValue"])
    return kept


def _pair(entry: Any) -> tuple[str, str]:
    """(id inside, name of the widget) of an entry; one that cannot be read names nothing."""
    if isinstance(entry, list) and len(entry) >= 2 and isinstance(entry[1], str):
        return str(entry[0]), entry[1]
    return "", ""


def _own_slot(node: CanvasNode, name: str) -> Slot:
    slot = node.slot(name)
    if slot is None:
        slot = Slot(name, ANY, None, is_widget=True)
        node.inputs.append(slot)
    return slot


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 1
    while True:
        yield f"{name}_{number}"
        number += 1
