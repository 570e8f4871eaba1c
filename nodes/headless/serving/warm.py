"""Models that stay in memory between jobs, as long as the next job uses the same ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from ....engine.runtime import LoadedModels

Result = TypeVar("Result")


class WarmModels(LoadedModels):
    """Holds what a job has loaded until a job with other models begins."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[Hashable, Any] = {}
        self._model = ""

    def begin(self, model: str) -> None:
        """A job with this key of its models begins; where it is another one, all that is held is let go."""
        if model != self._model or not model:
            self._held.clear()
        self._model = model

    def once(self, key: Hashable, load: Callable[[], Result]) -> Result:
        found = super().once(key, load)
        self._held[key] = found
        return found
