"""The values of a node's widgets by name, from the forms in which the canvas has saved them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..widgets import places_in_list, widget_names
from .canvas_file import CanvasNode


def own_values(node: CanvasNode, types: Mapping[str, dict]) -> dict[str, Any]:
    """What a node's own widgets say; widgets that were saved without a value are left out.

    Values by name are safer than the list, whose order depends on the version of the node.
    """
    if isinstance(node.values, dict):
        listed = node.values
    else:
        places = places_in_list(types, node.values)
        listed = {name: node.values[index] for name, index in places if index < len(node.values)}
    values = {**listed, **node.named}
    return {name: values[name] for name in widget_names(types, values) if name in values}
