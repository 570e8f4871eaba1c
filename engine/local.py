"""A plain process as the runtime: a device by its name, progress in the terminal, weights in RAM."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ..common.errors import InvalidInputError
from ..common.families import Family
from ..common.log import logger
from ..common.printable import printable_name
from ..dit.sharing import ONE_DEVICE, Sharing
from ..memory.policy import RESIDENT, MemoryPolicy, swapped_blocks
from ..memory.residency import Weights
from ..memory.slabs import Slabs
from .films.kept import NO_FILMS_KEPT, KeptFilms
from .previews.moving import PreviewWish
from .progress import Counted, Whereabouts
from .resuming.kept import NO_RUNS_KEPT, KeptRuns
from .runtime import LoadedModels, Progress, Request, Work
from .sharing.places import Crews
from .terminal import UnseenProgress, shown_progress

M = TypeVar("M", bound=nn.Module)
Result = TypeVar("Result")


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """The user asked to stop."""


@dataclass
class LocalRuntime:
    """See `runtime.Runtime`.

    Attributes:
        device_name: auto, cpu, cuda, cuda:1, mps, ...
        show_progress: whether to say how far the work is, see `terminal.shown_progress`.
        interrupted: set it to stop the run at the next block.
        models: the models in memory.
        kept_runs: where runs that are broken off wait to be gone on with; nowhere unless it is said.
        kept_films: where the finished clips of films do; likewise.
        sharing: with whom the passes of all runs are computed.
        crews: with whom those of runs that want it are.
    """

    device_name: str = "auto"
    show_progress: bool = False
    interrupted: bool = False
    models: LoadedModels = field(default_factory=LoadedModels)
    kept_runs: KeptRuns = NO_RUNS_KEPT
    kept_films: KeptFilms = NO_FILMS_KEPT
    sharing: Sharing = ONE_DEVICE
    crews: Crews = field(default_factory=Crews)
    _where: Whereabouts = field(default_factory=Whereabouts)

    def perform(self, work: Work[Result]) -> Result:
        return work.run()

    def check_gpus(self, count: int, device: torch.device) -> None:
        if self.sharing.devices == 1:
            self.crews.check(count, device, on_cpu=self.device_name == "cpu")

    def shared(self, request: Request, count: int, device: torch.device) -> contextlib.AbstractContextManager[Sharing]:
        if self.sharing.devices == 1:
            self.check_gpus(count, device)
            return self.crews.sharing(request, count, device, self)
        if count not in (1, self.sharing.devices):
            logger.info("%d devices share the run, as this process was told, and not %d.", self.sharing.devices, count)
        return contextlib.nullcontext(self.sharing)

    def progress(self, counted: Counted) -> Progress:
        return shown_progress(self._where.told(counted)) if self.show_progress else UnseenProgress()

    def at(self, words: str) -> contextlib.AbstractContextManager[None]:
        return self._where.at(words)

    def preview_wish(self, family: Family) -> PreviewWish | None:
        return None

    def check_interrupt(self) -> None:
        if self.interrupted:
            raise Interrupted

    def device(self, kind: str, choice: str = "auto") -> torch.device:
        return _find_device(self.device_name, choice)

    def check_device(self) -> None:
        """Refuses a device that cannot be used, before anything else is done.

        Raises:
            InvalidInputError: it cannot.
        """
        _find_device(self.device_name, "auto")

    def residence(self, module: M, device: torch.device) -> LocalResidence[M]:
        return LocalResidence(module, device, self.check_interrupt)

    def free_bytes(self, device: torch.device) -> int | None:
        return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None

    def available_bytes(self, device: torch.device) -> int | None:
        free = self.free_bytes(device)
        return free and free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)

    def free_memory(self, device: torch.device) -> None:
        empty_cache = getattr(getattr(torch, device.type, None), "empty_cache", None)
        if empty_cache is not None:
            empty_cache()


class LocalResidence(Generic[M]):
    """Weights wait in RAM, or in their file, and are copied to the device while they compute."""

    def __init__(self, module: M, device: torch.device, check: Callable[[], None] = lambda: None) -> None:
        self.device = device
        self.module = module
        self.slabs = Slabs(check)
        self._weights = Weights(module, check)

    @contextlib.contextmanager
    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> Iterator[M]:
        self._weights.leave_out(swapped_blocks(memory, self.module))
        try:
            if self.device.type != "cpu":
                self._weights.load(self.device)
            yield self.module
        finally:
            self._weights.unload()

    def unload(self) -> None:
        self._weights.unload()

    def host_tensors(self) -> list[Tensor]:
        return self._weights.host_tensors()

    def reload(self) -> None:
        """Nobody unloads in between."""


def _find_device(chosen: str, wanted: str) -> torch.device:
    if wanted == "cpu":
        return torch.device("cpu")
    if chosen == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.empty(0, device=chosen).device if _DEVICE.fullmatch(chosen) else None
    except (RuntimeError, AssertionError):
        device = None
    if device is None:
        raise InvalidInputError(
            f"The device '{printable_name(chosen)}' cannot be used here{_why_not(chosen)}. Choose one of: "
            f"{', '.join(_usable_devices())}."
        )
    if device.type == "cpu":
        device = torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what names no device then leaves the other GPUs alone
    if wanted == "gpu" and device.type == "cpu":
        raise InvalidInputError("Device 'gpu' was chosen, but this run is on the CPU. Choose 'auto' or 'cpu'.")
    return device


_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d{1,3})?")


def _usable_devices() -> list[str]:
    kinds = {"cuda": torch.cuda, "xpu": torch.xpu}
    cards = [f"{kind}:{index}" for kind, module in kinds.items() for index in range(module.device_count())]
    return ["auto", "cpu", *cards, *(["mps"] if torch.backends.mps.is_available() else [])]


def _why_not(chosen: str) -> str:
    """The reason in words, as far as it is known."""
    kind, _, index = chosen.partition(":")
    if not _DEVICE.fullmatch(chosen):
        return ": there is no device of that name"
    if kind == "cuda" and torch.cuda.is_available() and index:
        return f": the GPUs are numbered from 0 to {torch.cuda.device_count() - 1}"
    lacking = {
        "cuda": "no GPU that this build of torch can use was found",
        "mps": "it needs a Mac with an Apple GPU and a build of torch for it",
        "xpu": "no Intel GPU that this build of torch can use was found",
    }
    return f": {lacking[kind]}" if kind in lacking else ""
