"""What the canvas queues for a workflow: its nodes in one level, with the values behind wires that leave no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ....common.errors import GraphError
from ....common.log import logger
from ..widgets import inputs_of, spec_of, types_match
from .canvas_file import (
    BYPASSED,
    MOST_NODES,
    MUTED,
    SUBGRAPH_INPUT,
    CanvasFile,
    CanvasNode,
    CanvasScope,
    Slot,
    read_canvas,
)
from .dynamic_prompts import resolved_prompt
from .group_nodes import open_group_nodes
from .node import Graph, GraphNode, Link, shown
from .promoted import PromotedWidgets, inner_first
from .virtual_nodes import DECORATION, GETTERS, PRIMITIVE, REROUTES, SETTERS, VIRTUAL, first_value, passes_on, setters
from .widget_values import own_values

_NAMED = 5
"""Widgets that a line of the log names at most."""
NodeClasses = Mapping[str, type]


class Value(NamedTuple):
    """What a wire carries that comes from no node that runs; `is_typed`: as typed into the widget it ends at."""

    value: Any
    is_typed: bool


def canvas_graph(data: dict[str, Any], node_classes: NodeClasses) -> tuple[Graph, frozenset[str]]:
    """The nodes of a workflow in the canvas's format; and the ids of those that have no output.

    Raises:
        GraphError: the file is damaged, or stands for too many nodes.
    """
    running = running_nodes(data, node_classes)
    graph = {converted.id: converted for _, converted in running}
    dead_ends = frozenset(converted.id for node, converted in running if not node.outputs)
    return {id: _without_lost_links(node, graph) for id, node in graph.items()}, dead_ends


def running_nodes(data: dict[str, Any], node_classes: NodeClasses) -> list[tuple[CanvasNode, GraphNode]]:
    """Every node that runs, as it was saved and with its inputs by name; errors as `canvas_graph`."""
    file = read_canvas(data)
    open_group_nodes(file, node_classes)
    _check_size(file)
    opened = Opened(file, node_classes)
    left_inside = opened.promoted.left_inside()
    if left_inside:
        more = f" and {len(left_inside) - _NAMED:,} more" if len(left_inside) > _NAMED else ""
        named = ", ".join(left_inside[:_NAMED]) + more
        logger.info("Without a value (null): %s. What lies inside the subgraph is taken.", named)
    return [(node, _convert(instance, node)) for instance, node in Instance(file.root, opened).running()]


class Opened:
    """What all instances of a file's subgraphs have in common."""

    def __init__(self, file: CanvasFile, node_classes: NodeClasses) -> None:
        self.subgraphs = file.subgraphs
        used = {node.type for scope in file.scopes for node in scope.nodes.values()}
        self.types = {name: node_classes[name].INPUT_TYPES() for name in used if name in node_classes}
        self.classes = node_classes
        self._setters: dict[str, dict[str, CanvasNode]] = {}
        self.promoted = PromotedWidgets(file, self.is_widget, self.value_of)

    def setters(self, scope: CanvasScope) -> dict[str, CanvasNode]:
        """The Set nodes of a scope by their names."""
        if scope.id not in self._setters:
            self._setters[scope.id] = setters(scope)
        return self._setters[scope.id]

    def is_widget(self, node: CanvasNode, slot: Slot) -> bool:
        """Whether an input is a widget's: as the class says, or as it was saved where that is not known."""
        types = self.types.get(node.type)
        spec = spec_of(types, slot.name, own_values(node, types)) if types else None
        return slot.is_widget if spec is None else spec.widget is not None

    def value_of(self, node: CanvasNode, name: str) -> Any | None:
        """What a node's own widget holds; its default where nothing was saved."""
        types = self.types.get(node.type)
        if types is None:
            return node.named.get(name)
        values = own_values(node, types)
        spec = spec_of(types, name, values)
        return values.get(name, spec.options.get("default") if spec else None)

    def slots(self, node: CanvasNode) -> list[Slot]:
        """A node's inputs in its own order; files may leave out those of widgets that have no wire."""
        if node.type in self.subgraphs:
            specs = [(each.name, each.type) for each in self.subgraphs[node.type].inputs]
        elif node.type in self.types:
            specs = [(each.name, "COMBO" if isinstance(each.type, list) else each.type)
                     for each in inputs_of(self.types[node.type])]  # fmt: skip
        else:
            return node.inputs
        saved = {slot.name: slot for slot in node.inputs}
        return [saved.pop(name, Slot(name, type)) for name, type in specs] + list(saved.values())


@dataclass(slots=True)
class Instance:
    """The workflow itself, or one subgraph's node with what lies inside it.

    `prefix` stands before the ids of the nodes inside; `outer` is where the subgraph's node, `host`, lies.
    """

    scope: CanvasScope
    opened: Opened
    prefix: str = ""
    outer: Instance | None = None
    host: CanvasNode | None = None
    _inside: dict[str, Instance] = field(default_factory=dict)

    def inside(self, host: CanvasNode) -> Instance:
        """The instance behind a subgraph's node."""
        if host.id not in self._inside:
            scope = self.opened.subgraphs[host.type]
            self._inside[host.id] = Instance(scope, self.opened, f"{self.prefix}{host.id}:", self, host)
        return self._inside[host.id]

    def running(self) -> Iterator[tuple[Instance, CanvasNode]]:
        """Every node that runs, with its instance; subgraphs are entered."""
        for node in self.scope.nodes.values():
            if not node.is_active or node.type in VIRTUAL:
                continue
            if node.type in self.opened.subgraphs:
                yield from self.inside(node).running()
            else:
                yield self, node

    def source(self, link: str | None, wanted: str) -> Link | Value | None:
        """What feeds a wire in the end: past reroutes, bypassed nodes and the edges of subgraphs. None: nothing does.

        `wanted` is the type of the input that it leads to.
        """
        at: Instance = self
        seen: set[tuple[str, str]] = set()
        while link is not None and link in at.scope.wires:
            if (at.prefix, link) in seen:
                raise GraphError(
                    f"Wire {shown(link)} comes back to itself, through reroutes or bypassed nodes only. Remove one of "
                    "these wires."
                )
            seen.add((at.prefix, link))
            wire = at.scope.wires[link]
            if wire.origin == SUBGRAPH_INPUT:
                found = at._at_the_edge(wire.origin_slot)
                if not isinstance(found, tuple) or isinstance(found, Value):
                    return found
                at, link = found
                continue
            node = at.scope.nodes.get(wire.origin)
            if node is None or node.mode == MUTED or node.type in DECORATION:
                return None
            if node.mode != BYPASSED and node.type == PRIMITIVE:
                return Value(first_value(node), is_typed=True)
            if node.is_active and node.type not in VIRTUAL and node.type not in at.opened.subgraphs:
                return Link(f"{at.prefix}{node.id}", wire.origin_slot)
            at, link = at._through(node, wire.origin_slot, wanted)
        return None

    def _at_the_edge(self, slot: int) -> tuple[Instance, str] | Value | None:
        """Where a wire goes on that comes from outside of a subgraph; or what its node says when there is none."""
        if self.outer is None or self.host is None or not 0 <= slot < len(self.scope.inputs):
            return None
        name = self.scope.inputs[slot].name
        outside = self.host.slot(name)
        if outside is not None and outside.link is not None:
            return self.outer, outside.link
        promoted = self.opened.promoted
        return Value(promoted.value(self.host, name), is_typed=False) if promoted.has_widget(self.host, name) else None

    def _through(self, node: CanvasNode, slot: int, wanted: str) -> tuple[Instance, str | None]:
        """The wire behind one that comes from a node which does not run itself."""
        if node.mode == BYPASSED:
            return self, _bypass(node, self.opened.slots(node), slot, wanted)
        if node.type in REROUTES | SETTERS:
            return self, passes_on(node)
        if node.type in GETTERS:
            return self._set_elsewhere(node)
        inside = self.inside(node)
        return inside, inside.scope.outputs.get(slot)

    def _set_elsewhere(self, getter: CanvasNode) -> tuple[Instance, str | None]:
        """The wire into the Set node of a Get node: beside it, or around the subgraph it lies in."""
        at: Instance | None = self
        while at is not None:
            setter = self.opened.setters(at.scope).get(repr(first_value(getter)))
            if setter is not None:
                return at, passes_on(setter) if setter.mode != MUTED else None
            at = at.outer
        return self, None


def _convert(instance: Instance, node: CanvasNode) -> GraphNode:
    opened = instance.opened
    id = f"{instance.prefix}{node.id}"
    types = opened.types.get(node.type)
    inputs = own_values(node, types) if types is not None else dict(node.named)
    typed = set(inputs)
    for slot in node.inputs:
        source = instance.source(slot.link, slot.type)
        if source is None:
            continue
        inputs[slot.name] = source.value if isinstance(source, Value) else source
        if isinstance(source, Link) or not source.is_typed:
            typed.discard(slot.name)
    node_class = opened.classes.get(node.type)
    known = getattr(node_class.GET_SCHEMA(), "display_name", None) if node_class else None
    converted = GraphNode(id, node.type, node.title or known or node.type, inputs)
    if types is not None:
        _resolve_prompts(converted, types, typed, inputs)
    return converted


def _resolve_prompts(node: GraphNode, types: Mapping[str, dict], typed: set[str], inputs: dict[str, Any]) -> None:
    """Draws the choices in texts that were typed into the node itself, as the canvas does; others stay."""
    for spec in inputs_of(types, inputs):
        text = inputs.get(spec.name)
        if not spec.options.get("dynamicPrompts") or not isinstance(text, str):
            continue
        resolved = resolved_prompt(text)
        if resolved == text:
            continue
        if spec.name in typed:
            inputs[spec.name] = resolved
            logger.info("%s: %s is %r, drawn from its {choices} and without comments.", node.label, spec.name, resolved)
        else:
            logger.warning(
                "%s: %s has {choices} or comments, which the canvas leaves as they are in a text that comes from a "
                "subgraph's own node. Write the text out, or type it into the node inside.", node.label, spec.name,
            )  # fmt: skip


def _check_size(file: CanvasFile) -> None:
    """Refuses subgraphs that stand for more nodes than can run, before they are opened."""
    sizes: dict[str, int] = {}
    for id in inner_first(file):
        sizes[id] = sum(1 + sizes.get(node.type, 0) for node in file.subgraphs[id].nodes.values())
    total = sum(1 + sizes.get(node.type, 0) for node in file.root.nodes.values())
    if total > MOST_NODES:
        raise GraphError(
            f"The workflow stands for {_count(total)} nodes once its subgraphs are opened; at most {MOST_NODES:,} can "
            "run. Use fewer subgraphs within each other."
        )


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**15 else "more than 10^15"


def _bypass(node: CanvasNode, slots: list[Slot], output: int, wanted: str) -> str | None:
    """The wire that a bypassed node passes on at an output: of the input beside it where the types agree, else of the
    first input of the type that is wanted, else of the first that fits."""
    if not 0 <= output < len(node.outputs):
        return None
    given = node.outputs[output]
    if wanted == "*":
        return slots[output if output < len(slots) else 0].link if slots else None

    def fits(slot: Slot) -> bool:
        return types_match(slot.type, given) and types_match(slot.type, wanted)

    beside = slots[output : output + 1]
    exact = [slot for slot in slots if slot.type == wanted]
    order = [*(slot for slot in beside if fits(slot)), *exact, *(slot for slot in slots if fits(slot))]
    return order[0].link if order else None


def _without_lost_links(node: GraphNode, graph: Graph) -> GraphNode:
    """Leaves out wires from nodes that do not run (muted ones)."""
    kept = {name: value for name, value in node.inputs.items() if not isinstance(value, Link) or value.node in graph}
    return GraphNode(node.id, node.class_type, node.title, kept)
