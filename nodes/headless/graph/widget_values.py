"""The values of a node's widgets by name, from the forms in which the canvas has saved them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..widgets import places_in_list, widget_names
from .canvas_file import CanvasNode


def own_values(node: CanvasNode, types: Mapping[str, dict]) -> dict[str, Any]:
    """What a node's own widgets say; widgets that were saved without a value are left out."""
    values = named_values(node)
    if values is None:
        listed = node.values if isinstance(node.values, list) else []
        values = {name: listed[index] for name, index in places_in_list(types, listed) if index < len(listed)}
        values |= node.named
    return {name: values[name] for name in widget_names(types, values) if name in values}


def named_values(node: CanvasNode) -> dict[str, Any] | None:
    """The values by the names that the file itself gives them; None where it gives none.

    The names stand in the order of the list, which is what the canvas (1.58.1) restores where the two differ. A list
    says nothing of names; its order depends on the version of the node.
    """
    if isinstance(node.values, dict):
        return node.values
    return dict(zip(node.named, node.values)) if node.named and len(node.named) == len(node.values) else None
