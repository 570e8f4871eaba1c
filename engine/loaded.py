"""The models in memory, each loaded once for as long as someone holds it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar
from weakref import WeakValueDictionary

Loaded = TypeVar("Loaded")


class LoadedModels:
    """Models by what they were loaded from. Who uses one holds it; what nobody holds is forgotten, with its weights."""

    def __init__(self) -> None:
        self._models: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()

    def __iter__(self) -> Iterator[Hashable]:
        """The keys of the models that someone holds."""
        return iter(list(self._models))

    def once(self, key: Hashable, load: Callable[[], Loaded]) -> Loaded:
        """The model of this key that is in memory, or else what `load` gives."""
        found = self._models.get(key)
        if found is None:
            found = self._models[key] = load()
        return found
