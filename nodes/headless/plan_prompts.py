"""How many prompts a wire of CONDITIONING will carry, each a pass of the model in a step, as far as the graph tells."""

from __future__ import annotations

from typing import Any, NamedTuple

from .graph import Graph, GraphNode, Link

COMBINING = {
    "ConditioningCombine": ("conditioning_1", "conditioning_2"),
    "ConditioningConcat": ("conditioning_to",),
    "ConditioningAverage": ("conditioning_to",),
    **dict.fromkeys(
        (
            "ConditioningMultiply", "ConditioningSetArea", "ConditioningSetAreaPercentage",
            "ConditioningSetAreaStrength", "ConditioningSetMask", "ConditioningZeroOut",
            "ConditioningSetTimestepRange",
        ),
        ("conditioning",),
    ),
}  # fmt: skip
"""Node without a model -> the inputs whose prompts follow one another in what it gives.

Source: ComfyUI v0.33.0, nodes.py
"""
_ENCODERS = frozenset({"WanDirectorTextEncode", "CLIPTextEncode"})
_SIDES = ("positive", "negative")
_BOTH_SIDES = frozenset({
    "WanDirectorImageToVideo", "WanDirectorVace", "WanImageToVideo", "WanFirstLastFrameToVideo",
    "WanFunInpaintToVideo", "WanFunControlToVideo", "Wan22FunControlToVideo", "WanVaceToVideo",
})  # fmt: skip
"""Nodes that give at outputs 0 and 1 as many prompts as come in at `positive` and `negative`."""


class Prompts(NamedTuple):
    """How many there are at least; `unknown`: the node of which the number is not known before the graph runs."""

    number: int
    unknown: GraphNode | None = None

    def __add__(self, other: Prompts) -> Prompts:
        return Prompts(self.number + other.number, self.unknown or other.unknown)


ONE = Prompts(1)


def prompts_at(graph: Graph, wire: Any) -> Prompts:
    """The prompts behind a wire."""
    counted: dict[Link, Prompts] = {}
    opened: set[Link] = set()
    waiting = [wire]
    while waiting:
        link = waiting[-1]
        node = graph.get(link.node) if isinstance(link, Link) else None
        if node is None or link in counted:
            waiting.pop()
            continue
        sources = _sources(node, link.slot)
        missing = [each for each in sources or () if each not in counted and each not in opened and each.node in graph]
        if missing:
            opened.add(link)
            waiting += missing
            continue
        # What is not counted by now comes round in a circle, which no run accepts, or from nowhere.
        found = [counted.get(each, ONE) for each in sources or ()]
        counted[link] = Prompts(1, node) if sources is None else _joined(found)
    return counted.get(wire, ONE) if isinstance(wire, Link) else ONE


def _joined(found: list[Prompts]) -> Prompts:
    total = Prompts(0)
    for each in found:
        total += each
    return total if found else ONE


def _sources(node: GraphNode, slot: int) -> list[Link] | None:
    """The wires whose prompts a node gives at an output; none where it makes one, None where that is not known."""
    if node.class_type in _ENCODERS:
        return []
    names = _SIDES[slot : slot + 1] if node.class_type in _BOTH_SIDES else COMBINING.get(node.class_type)
    if not names:
        return None
    wires = [node.inputs.get(name) for name in names]
    return [wire for wire in wires if isinstance(wire, Link)]
