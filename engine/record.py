"""A runtime that plans: of every stage it notes the job, and gives its outline instead of running it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ..common.families import Family
from ..dit.sharing import PlannedDevices, Sharing
from ..memory.policy import RESIDENT, MemoryPolicy
from ..memory.slabs import Slabs
from .films.kept import NO_FILMS_KEPT
from .loaded import PlacedModel
from .memory import Job
from .previews.moving import PreviewWish
from .progress import Counted
from .recipe import ModelRecipe
from .resuming.kept import NO_RUNS_KEPT
from .runtime import LoadedModels, Request, Work
from .terminal import UnseenProgress

M = TypeVar("M", bound=nn.Module)
Result = TypeVar("Result")


class RecordingRuntime:
    """See `runtime.Runtime`. What asks it is to run inside of `common.empty_tensors.EmptyTensors`.

    Args:
        device: where a part of a video model would compute, see `Runtime.device`.
        wish: how the run would be watched, see `Runtime.preview_wish`.
        devices: that would share it.

    Attributes:
        jobs: of the stages so far, in the order of the run.
        placed: the models so far.
    """

    def __init__(
        self,
        device: Callable[[str, str], torch.device],
        wish: Callable[[Family], PreviewWish | None] = lambda _family: None,
        devices: int = 1,
    ) -> None:
        self.models = LoadedModels()
        self.kept_runs = NO_RUNS_KEPT
        self.kept_films = NO_FILMS_KEPT
        self.sharing = PlannedDevices(devices)
        self.jobs: list[Job] = []
        self.placed: list[ModelRecipe] = []
        self._device = device
        self._wish = wish

    def perform(self, work: Work[Result]) -> Result:
        before = len(self.jobs)
        self.jobs += work.jobs
        given = work.outline()
        if work.times:
            self.jobs[before:] = [replace(job, times=work.times) for job in self.jobs[before:]]
        if isinstance(given, PlacedModel):
            self.placed.append(given.recipe)
        return given

    def check_gpus(self, count: int, device: torch.device) -> None:
        """A plan is made for any number of them."""

    def shared(self, request: Request, count: int, device: torch.device) -> AbstractContextManager[Sharing]:
        return nullcontext(self.sharing)

    def progress(self, counted: Counted) -> UnseenProgress:
        return UnseenProgress()

    def at(self, words: str) -> AbstractContextManager[None]:
        return nullcontext()

    def preview_wish(self, family: Family) -> PreviewWish | None:
        return self._wish(family)

    def check_interrupt(self) -> None:
        """It takes no time."""

    def device(self, kind: str, choice: str = "auto") -> torch.device:
        return self._device(kind, choice)

    def residence(self, module: M, device: torch.device) -> Nowhere[M]:
        return Nowhere(module, device)

    def free_bytes(self, device: torch.device) -> int | None:
        return None

    def available_bytes(self, device: torch.device) -> int | None:
        return None

    def free_memory(self, device: torch.device) -> None:
        """Nothing is in memory."""


class Nowhere(Generic[M]):
    """The residence of a model without weights, see `runtime.Residence`."""

    def __init__(self, module: M, device: torch.device) -> None:
        self.device = device
        self.module = module
        self.slabs = Slabs()

    @contextmanager
    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> Iterator[M]:
        yield self.module

    def unload(self) -> None:
        """Nothing is loaded."""

    def host_tensors(self) -> list[Tensor]:
        return []

    def reload(self) -> None:
        """Nothing was taken away."""
