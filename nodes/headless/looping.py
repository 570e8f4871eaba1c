"""Loops in a graph: which nodes lie between Start Loop and End Loop and are run several times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...common.errors import GraphError
from ...common.records import record
from .graph import Graph, GraphNode, Link
from .lists import Several

NodeClasses = Mapping[str, type]
_OUTPUT, _NEXT, _ALL, _FIRST = "output_value", "next_iteration_value", "accumulate", "initial_iteration_value"


class LoopTurns(NamedTuple):
    """How often a loop is gone through: the number that each turn has, and its item of a list, if there is one."""

    numbers: tuple[int, ...]
    items: tuple[Any, ...] | None = None

    def checked(self, start: GraphNode) -> LoopTurns:
        """These, if there are some.

        Raises:
            GraphError: there are none.
        """
        if not self.numbers:
            raise GraphError(
                f"{start.label} begins a loop of 0 turns, so that nothing comes out of it. Let it have one at least."
            )
        return self

    def outputs(self, place: int, carried: Any) -> tuple[Any, ...]:
        """What Start Loop gives in the turn at a place; `carried`: from the turn before."""
        item = None if self.items is None else self.items[place]
        return self.numbers[place], not place, place == len(self.numbers) - 1, item, carried


@record(eq=False)
class Loop:
    """A loop: the nodes at its ends, and by id those between them."""

    start: GraphNode
    end: GraphNode
    body: Graph

    @property
    def links_in(self) -> list[Link]:
        """The wires by which something comes in from outside."""
        wires = [*self.start.links, *self.end.links, *(link for node in self.body.values() for link in node.links)]
        return [link for link in wires if link.node not in self.body and link.node != self.start.id]

    @property
    def wanted(self) -> set[str]:
        """The nodes in it that a turn is gone through for."""
        return {link.node for link in self.end.links if link.node in self.body}

    @property
    def is_collecting(self) -> bool:
        """Whether what comes out is that of every turn, else that of the last one."""
        return bool(self.end.inputs.get(_ALL, False))

    @property
    def initial(self) -> Any:
        """What the first turn is given: a value or a wire."""
        return self.start.inputs.get(_FIRST)

    @property
    def output(self) -> Any:
        """What comes out of a turn, likewise."""
        return self.end.inputs.get(_OUTPUT)

    @property
    def following(self) -> Any:
        """What the next turn is given, likewise."""
        return self.end.inputs.get(_NEXT)


def loops_of(graph: Graph, node_classes: NodeClasses) -> dict[str, Loop]:
    """The loops that lie in no other one, by the ids of their ends. Wires may come from outside of the graph.

    Raises:
        GraphError: a loop has one end only, or something is taken out of it on another way than by End Loop.
    """
    if not any(_end_of(node, node_classes) for node in graph.values()):
        return {}
    below = _users(graph)
    loops = {end.id: _loop(start, end, graph, below) for start, end in _pairs(graph, node_classes)}
    inner = {id for loop in loops.values() for id in loop.body}
    outer = {id: loop for id, loop in loops.items() if id not in inner}
    for loop in outer.values():
        _check_ways_out(loop, below, graph)
    return outer


def flat(outputs: list[Any]) -> Several:
    """What came out of the turns, one after the other; those of a turn that gave a list follow one another."""
    return Several(value for output in outputs for value in (output if isinstance(output, Several) else (output,)))


def _end_of(node: GraphNode, node_classes: NodeClasses) -> str | None:
    """Which end of a loop a node is."""
    return getattr(node_classes.get(node.class_type), "LOOP", None)


def _pairs(graph: Graph, node_classes: NodeClasses) -> Iterator[tuple[GraphNode, GraphNode]]:
    """The ends of each loop: an End Loop belongs to the last Start Loop before it that has none yet."""
    order = _ordered(graph)
    starts = [node for node in order if _end_of(node, node_classes) == "start"]
    for end in (node for node in order if _end_of(node, node_classes) == "end"):
        above = _above(end, graph)
        start = next((node for node in reversed(starts) if node.id in above), None)
        if start is None:
            raise GraphError(f"{end.label} ends a loop that nothing begins. Connect a Start Loop to what is before it.")
        starts.remove(start)
        yield start, end
    if starts:
        raise GraphError(f"{starts[0].label} begins a loop that nothing ends. Connect what follows it to an End Loop.")


def _loop(start: GraphNode, end: GraphNode, graph: Graph, below: Mapping[str, list[str]]) -> Loop:
    above, after, waiting = _above(end, graph), set[str](), [start.id]
    while waiting:
        found = set(below[waiting.pop()]) - after
        after |= found
        waiting += found
    return Loop(start, end, {id: node for id, node in graph.items() if id in above and id in after})


def _check_ways_out(loop: Loop, below: Mapping[str, list[str]], graph: Graph) -> None:
    inside = {loop.start.id, *loop.body}
    for id in inside:
        user = next((user for user in below[id] if user not in loop.body and user != loop.end.id), None)
        if user is not None:
            raise GraphError(
                f"{graph[user].label} takes something out of a loop, which only {loop.end.label} can. Connect it to "
                "that, or to its terminations where it is to run in every turn."
            )


def _users(graph: Graph) -> dict[str, list[str]]:
    """The nodes that take something of each node."""
    users: dict[str, list[str]] = {id: [] for id in graph}
    for node in graph.values():
        for link in node.links:
            if link.node in users:
                users[link.node].append(node.id)
    return users


def _above(node: GraphNode, graph: Graph) -> set[str]:
    """The nodes that a node needs."""
    found, waiting = set[str](), [node]
    while waiting:
        new = {link.node for link in waiting.pop().links if link.node in graph} - found
        found |= new
        waiting += [graph[id] for id in new]
    return found


def _ordered(graph: Graph) -> list[GraphNode]:
    """The nodes, each after those that it needs; there is no cycle."""
    placed: dict[str, GraphNode] = {}
    waiting = list(graph.values())
    while waiting:
        node = waiting[-1]
        missing = [link.node for link in node.links if link.node in graph and link.node not in placed]
        if missing:
            waiting += [graph[id] for id in missing]
            continue
        placed.setdefault(node.id, node)
        waiting.pop()
    return list(placed.values())
