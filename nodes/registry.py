"""The classes of nodes by their ids, loaded from the modules that have them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

_registered: dict[str, type] = {}


def node_classes(modules: Mapping[str, str]) -> dict[str, type]:
    """The class called like each id, from the module in this folder that it stands for."""
    classes = {id: getattr(import_module(f".{module}", __package__), id) for id, module in modules.items()}
    _registered.update(classes)
    return classes


def registered() -> Mapping[str, type]:
    """The classes of the pack's nodes, once they are loaded."""
    return _registered
