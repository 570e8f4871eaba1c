"""Walking a graph: each node after those it needs, those behind lazy inputs only when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from ..standin import HiddenHolder
from .graph import Graph, GraphNode, Link
from .lists import Executed, Several, calls, executed
from .looping import Loop, LoopTurns, flat, loops_of
from .ordering import NodeClasses, depths, types_of
from .widgets import WIDGET_TYPES, inputs_of, nested_inputs

RunNode = Callable[[GraphNode, dict[str, Any]], Sequence[Any]]
"""Gives what a node makes of its inputs (by their names, with dots), by output."""


class Walk:
    """One way through a graph that has been checked; results are dropped when nobody needs them any more.

    Args:
        graph: nodes by id, with all their inputs.
        node_classes: by name.
        ends: ids of the nodes that are wanted.
        run: runs a node.
        made: what nodes have given already that are not to run, by id; then what the wanted ones give is kept.
    """

    def __init__(
        self,
        graph: Graph,
        node_classes: NodeClasses,
        ends: Collection[str],
        run: RunNode,
        made: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self._graph = graph
        self._classes = node_classes
        self._loops = loops_of({id: node for id, node in graph.items() if id not in (made or ())}, node_classes)
        inside = {id for loop in self._loops.values() for id in (loop.start.id, *loop.body)}
        self._wanted, self._ends = set(ends), set(ends) - inside
        self._run = run
        self._results = _Results(graph, ends, made or {}, () if made is None else ends)
        self._depths = depths(graph)
        self._lazy = {node.id: lazy_wires(node, node_classes[node.class_type]) for node in graph.values()}

    def go(self) -> None:
        """Runs the wanted nodes after all that they need, those that work out plain values first."""
        ends = [node for node in self._graph.values() if node.id in self._ends]
        with torch.inference_mode():
            for node in (*self._plain_values(ends), *ends):
                self._make(node)

    def _plain_values(self, ends: Iterable[GraphNode]) -> list[GraphNode]:
        """Nodes that work out numbers and texts from others: a mistake in them shows before the sampling.

        Those behind lazy wires wait as ever.
        """
        plain: set[str] = set()
        for id in sorted(self._graph, key=lambda id: self._depths[id]):
            node_class = self._classes[self._graph[id].class_type]
            is_plain = set(node_class.RETURN_TYPES) <= WIDGET_TYPES and not node_class.OUTPUT_NODE
            if is_plain and all(link.node in plain for link in self._graph[id].links):
                plain.add(id)
        waiting = list(ends)
        reached = {node.id for node in waiting}
        while waiting:
            below = {link.node for link in self._strong(waiting.pop())} - reached
            reached |= below
            waiting += [self._graph[id] for id in below]
        return [node for id, node in self._graph.items() if id in plain & reached]

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
            elif node.id in self._loops:
                loop = self._loops[node.id]
                outcome = self._go_round(loop)
                for inner in (loop.start, *loop.body.values()):
                    self._results.keep(inner, ())
                self._results.keep(node, outcome)
                waiting.pop()
            elif not self._asks_for_more(node):
                self._results.keep(node, self._run(node, self._inputs(node)))
                waiting.pop()

    def outcome(self, id: str) -> Sequence[Any]:
        """What one of the wanted nodes has given."""
        return self._results.of(id)

    def _go_round(self, loop: Loop) -> tuple[Several]:
        """Runs what lies in a loop as often as its start says, and gives what comes out."""
        outside = {link.node: self._results.of(link.node) for link in loop.links_in}
        turns, carried, outputs = self._turns(loop), _value_of(loop.initial, outside), list[Any]()
        for place in range(len(turns.numbers)):
            made = {**outside, loop.start.id: turns.outputs(place, carried)}
            around = {id: GraphNode(id, self._graph[id].class_type, self._graph[id].title, {}) for id in made}
            ends = loop.wanted | (self._wanted & set(loop.body))
            turn = Walk({**around, **loop.body}, self._classes, ends, self._run, made)
            turn.go()
            made |= {id: turn.outcome(id) for id in ends}
            carried = _value_of(loop.following, made)
            outputs = [*(outputs if loop.is_collecting else ()), _value_of(loop.output, made)]
        return (flat(outputs),)

    def _turns(self, loop: Loop) -> LoopTurns:
        """How often a loop is gone through; once where that is not known, as it may be in a plan.

        Raises:
            GraphError: not at all.
        """
        turns = self._run(loop.start, self._results.inputs(loop.start))[0]
        return turns.checked(loop.start) if isinstance(turns, LoopTurns) else LoopTurns((0,))

    def _strong(self, node: GraphNode) -> list[Link]:
        """The wires that a node needs now: all but the lazy ones that it has not asked for."""
        if node.id in self._loops:
            return self._loops[node.id].links_in
        lazy = self._lazy[node.id]
        return [value for name, value in node.inputs.items() if isinstance(value, Link) and name not in lazy]

    def _asks_for_more(self, node: GraphNode) -> bool:
        """Asks a node which of its lazy inputs it needs."""
        lazy = self._lazy[node.id]
        if not lazy:
            return False
        node_class, types = self._classes[node.class_type], types_of(node, self._classes)
        answers = [
            node_class.check_lazy_status(**nested_inputs(types, each)) for each in calls(node_class, self._inputs(node))
        ]
        asked = lazy & {name for answer in answers for name in answer or ()}
        lazy -= asked
        return bool(asked)

    def _inputs(self, node: GraphNode) -> dict[str, Any]:
        return self._results.inputs(node, left_out=self._lazy[node.id])


def execute(node: GraphNode, node_class: type, inputs: Mapping[str, Any], carried: Mapping[str, Any]) -> Executed:
    """What a node gives for its inputs, run once or for each value of a list; `carried`: its hidden values beside its
    id."""
    running: Any = type(node_class.__name__, (node_class,), {"hidden": HiddenHolder(unique_id=node.id, **carried)})
    types = running.INPUT_TYPES()
    return executed(running, [running.execute(**nested_inputs(types, each)) for each in calls(running, inputs)])


class _Results:
    """What nodes have made and others still need."""

    def __init__(
        self, graph: Graph, ends: Collection[str], made: Mapping[str, Sequence[Any]], kept: Collection[str]
    ) -> None:
        self._graph = graph
        self._ends = ends
        self._made: dict[str, Sequence[Any]] = dict(made)
        self._done: set[str] = set(made)
        self._uses = Counter(link.node for node in graph.values() for link in node.links)
        self._uses.update(kept)

    def has(self, node: GraphNode) -> bool:
        """Whether a node has run."""
        return node.id in self._done

    def of(self, id: str) -> Sequence[Any]:
        """What a node has made, which somebody still needs."""
        return self._made[id]

    def inputs(self, node: GraphNode, left_out: Collection[str] = ()) -> dict[str, Any]:
        """A node's inputs, with the values behind its wires; None for wires that are left out."""
        return {name: self._value(value, name in left_out) for name, value in node.inputs.items()}

    def _value(self, value: Any, is_left_out: bool) -> Any:
        if not isinstance(value, Link):
            return value
        return None if is_left_out else self._made[value.node][value.slot]

    def keep(self, node: GraphNode, made: Sequence[Any]) -> None:
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


def is_no_round(outputs: Sequence[Any]) -> bool:
    """Whether what a node gives is that a loop is not gone through at all."""
    return bool(outputs) and isinstance(outputs[0], LoopTurns) and not outputs[0].numbers


def _value_of(source: Any, made: Mapping[str, Sequence[Any]]) -> Any:
    """A value, or what came over a wire."""
    return made[source.node][source.slot] if isinstance(source, Link) else source


def lazy_wires(node: GraphNode, node_class: type) -> set[str]:
    """The wires into a node that wait until it asks for them."""
    if not hasattr(node_class, "check_lazy_status"):
        return set()
    specs = inputs_of(node_class.INPUT_TYPES(), node.inputs)
    return {spec.name for spec in specs if spec.is_lazy and isinstance(node.inputs.get(spec.name), Link)}
