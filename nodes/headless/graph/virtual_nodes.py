"""Nodes that are on the canvas only: notes and switches for the eye, and nodes that stand for a wire."""

from __future__ import annotations

from .canvas_file import CanvasNode, CanvasScope

DECORATION = frozenset({
    "Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)", "Fast Muter (rgthree)", "Fast Bypasser (rgthree)",
    "Fast Groups Muter (rgthree)", "Fast Groups Bypasser (rgthree)", "Fast Actions Button (rgthree)",
    "Mute / Bypass Relay (rgthree)", "Mute / Bypass Repeater (rgthree)", "Random Unmuter (rgthree)",
    "Node Collector (rgthree)", "Note Plus (mtb)", "CM_NoteNode", "Sticky Note",
})  # fmt: skip
REROUTES = frozenset({"Reroute", "Reroute (rgthree)"})
SETTERS = frozenset({"SetNode", "easy setNode"})
GETTERS = frozenset({"GetNode", "easy getNode"})
PRIMITIVE = "PrimitiveNode"
VIRTUAL = DECORATION | REROUTES | SETTERS | GETTERS | {PRIMITIVE}


def first_value(node: CanvasNode) -> object:
    """The value of a node's first widget; None where it has none."""
    values = list(node.values.values()) if isinstance(node.values, dict) else node.values
    return values[0] if values else None


def setters(scope: CanvasScope) -> dict[str, CanvasNode]:
    """The Set nodes of a scope by their names, as `repr` of a first value; of several the first."""
    found = [node for node in scope.nodes.values() if node.type in SETTERS]
    return {repr(first_value(node)): node for node in reversed(found)}


def passes_on(node: CanvasNode) -> str | None:
    """The wire that a reroute or a Set node stands for."""
    return node.inputs[0].link if node.inputs else None
