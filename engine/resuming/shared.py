"""Runs that another process keeps, as those see them that share them with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from ...common.records import record
from .digest import NoDigest
from .folder import StateFolder
from .kept import NoKeptRun, NoRunsKept


@record(slots=False)
class RunsOfAnother(NoRunsKept):
    """See `kept.KeptRuns`; nothing is written here.

    Attributes:
        folder: in which the other process keeps them.
    """

    folder: StateFolder

    def of(self, key: Callable[[], str], kinds: Iterable[type]) -> NoKeptRun:
        """A run that begins where an earlier one was broken off."""
        try:
            return _RunOfAnother(self.folder, key(), tuple(kinds))
        except NoDigest:
            return NoKeptRun()


class _RunOfAnother(NoKeptRun):
    def __init__(self, folder: StateFolder, key: str, kinds: tuple[type, ...]) -> None:
        self._folder, self._key, self._kinds = folder, key, kinds

    def earlier(self, device: torch.device) -> Any | None:
        """See `kept.KeptRun`."""
        return self._folder.load(self._key, self._kinds, device)
