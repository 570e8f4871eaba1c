"""The classes of nodes by their ids, loaded from the modules that have them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module


def node_classes(modules: Mapping[str, str]) -> dict[str, type]:
    """The class called like each id, from the module in this folder that it stands for."""
    return {id: getattr(import_module(f".{module}", __package__), id) for id, module in modules.items()}
