"""What the engine needs from whoever runs it: devices, places for weights, progress, interruption.

It is handed to every function of the engine; nothing is looked up. `local.LocalRuntime` is that of a plain process.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..dit.execution import OnBlock
from ..memory.policy import RESIDENT, MemoryPolicy
from ..memory.slabs import Slabs
from .loaded import LoadedModels

M = TypeVar("M", bound=nn.Module)
Module = TypeVar("Module", bound=nn.Module, covariant=True)


class Progress(Protocol):
    """A bar that counts the steps of one piece of work."""

    def update(self, step: int, preview: Tensor | None = None) -> None:
        """`step` steps are done; `preview`: [h, w, 3] in 0..1, a small picture of the state."""
        ...


class Residence(Protocol, Generic[Module]):
    """Where the weights of one model live, and where they go to compute."""

    @property
    def device(self) -> torch.device:
        """To compute on."""
        ...

    @property
    def module(self) -> Module:
        """The model, wherever its weights are."""
        ...

    @property
    def slabs(self) -> Slabs:
        """Host memory from which blocks are swapped in (see `memory.policy`), kept as long as the model."""
        ...

    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> AbstractContextManager[Any]:
        """The model's weights on `device` inside the context, but for the blocks that `memory` swaps.

        Args:
            working_bytes: memory needed beside the weights; room for the slots of swapped blocks is asked for too.
            memory: which blocks stay on the CPU; its `streaming` then brings them in.
        """
        ...

    def unload(self) -> None:
        """Takes all weights to the CPU, outside of `loaded`: to compute there, or to leave the device to others."""
        ...

    def host_tensors(self) -> list[Tensor]:
        """The weights as they lie in RAM or in their file, wherever their copies are."""
        ...

    def reload(self) -> None:
        """Inside `loaded`: brings back the weights if they were unloaded in between; free when they were not."""
        ...


class Runtime(Protocol):
    """Who runs the engine."""

    @property
    def models(self) -> LoadedModels:
        """The models in memory, so that each is loaded once."""
        ...

    def progress(self, total: int, title: str) -> Progress:
        """A new bar of `total` steps for the work that begins now."""
        ...

    def wants_previews(self) -> bool:
        """Whether `Progress.update` shows its preview to anyone."""
        ...

    def check_interrupt(self) -> None:
        """Raises when the user asked to stop; called between blocks and frames."""
        ...

    def device(self, kind: str, choice: str = "auto") -> torch.device:
        """Where a part of a video model (a name in `model_loading.kinds`) computes; choice: auto, cpu or gpu."""
        ...

    def residence(self, module: M, device: torch.device) -> Residence[M]:
        """Looks after the weights of `module`, which is on the CPU now and will compute on `device`."""
        ...

    def free_bytes(self, device: torch.device) -> int | None:
        """Memory of a device that is free now; None where that cannot be asked."""
        ...

    def available_bytes(self, device: torch.device) -> int | None:
        """As `free_bytes`, with what models take that can be unloaded."""
        ...

    def free_memory(self, device: torch.device) -> None:
        """Takes from a device what nothing uses now: models that do not run, and torch's cache."""
        ...


def interrupt_hook(runtime: Runtime) -> OnBlock:
    """A hook for the transformer's blocks that stops the run when the user asked to."""
    return lambda _block, _tokens: runtime.check_interrupt()
