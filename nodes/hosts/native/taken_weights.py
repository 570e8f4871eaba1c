"""The weights of a model that ComfyUI loaded, read as a file, and shared with a module of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ....common.errors import CheckpointError
from ....engine.runtime import Residence
from ....memory.policy import RESIDENT, MemoryPolicy
from ....memory.slabs import Slabs
from ....memory.tensors import Held, held_tensors
from ....model_loading.files.faults import naming
from ....model_loading.files.memory_checkpoint import MemoryCheckpoint

M = TypeVar("M", bound=nn.Module)


class NativeWeights:
    """The transformer of a ModelPatcher, as its weights lie in RAM or in their file, without what patches make of them.

    Args:
        patcher: it, or any of its clones; they have the same weights.
    """

    def __init__(self, patcher: ModelPatcher) -> None:
        self._patcher = patcher
        self.path = _file_of(patcher)

    def unload(self) -> None:
        """Takes them from the device, and patched ones back to what they were."""
        manager = comfy.model_management
        held = [loaded for loaded in manager.current_loaded_models if loaded.model is not None]
        for loaded in held:
            if loaded.model.is_clone(self._patcher):
                loaded.model_unload()
                manager.current_loaded_models.remove(loaded)

    def tensors(self) -> dict[str, Tensor]:
        """By the names in their file; those of quantised layers with their scales and marks.

        Raises:
            CheckpointError: they are in a form that only another pack reads.
        """
        tensors = dict(self._patcher.model.diffusion_model.state_dict())
        for name, tensor in tensors.items():
            if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta:
                kind = "values that are not read yet" if tensor.is_meta else f"the form {type(tensor).__name__}"
                raise CheckpointError(
                    f"{self.path.name} has weights in {kind} ({name!r}), which only the pack that loaded it reads. "
                    "Choose the file in Load Wan Model."
                )
        return tensors

    def checkpoint(self) -> MemoryCheckpoint:
        """Them as a file."""
        with naming(self.path):
            return MemoryCheckpoint(self.path, self.tensors())


class Shared(NamedTuple):
    """Which tensors of a module of ours lie in the memory of a native model: place -> name there."""

    places: tuple[tuple[Held, str], ...]
    copied_bytes: int

    @property
    def bytes(self) -> int:
        """How much it is."""
        return sum(held.size_bytes for held, _ in self.places)


def shared_with(module: nn.Module, weights: NativeWeights) -> Shared:
    """What a module that was filled from native weights shares with them."""
    at = {(tensor.data_ptr(), tensor.nbytes): name for name, tensor in weights.tensors().items() if tensor.numel()}
    held = [each for each in held_tensors(module) if each.size_bytes]
    places = tuple(
        (each, at[each.tensor.data_ptr(), each.size_bytes])
        for each in held
        if (each.tensor.data_ptr(), each.size_bytes) in at
    )
    ours = sum(each.size_bytes for each in held)
    return Shared(places, ours - sum(each.size_bytes for each, _ in places))


class SharedResidence(Generic[M]):
    """The weights of a native model, in a module of ours; see `Residence`.

    Only one of the two is on the device: a run takes the native model's copies away when it begins, and its own when it
    ends. Where ComfyUI moves weights by replacing them, ours are those that it holds at the beginning of a run, so that
    the ones it had before are not kept.

    Args:
        inner: looks after the module as after any.
        weights: from which it was filled.
    """

    def __init__(self, inner: Residence[M], weights: NativeWeights) -> None:
        self._inner = inner
        self._native = weights
        self.shared = shared_with(inner.module, weights)

    @property
    def device(self) -> torch.device:
        return self._inner.device

    @property
    def module(self) -> M:
        return self._inner.module

    @property
    def slabs(self) -> Slabs:
        return self._inner.slabs

    @contextlib.contextmanager
    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> Iterator[M]:
        self._inner.unload()
        self._native.unload()
        self._take()
        try:
            with self._inner.loaded(working_bytes, memory) as module:
                yield module
        finally:
            self._inner.unload()

    def unload(self) -> None:
        self._inner.unload()

    def host_tensors(self) -> list[Tensor]:
        return self._inner.host_tensors()

    def reload(self) -> None:
        self._inner.reload()

    def _take(self) -> None:
        tensors = self._native.tensors()
        for held, name in self.shared.places:
            own, now = getattr(held.owner, held.name), tensors[name].detach()
            if now.data_ptr() != own.data_ptr() and now.nbytes == own.nbytes:
                held.replace(now.view(own.dtype).view(own.shape))


def _file_of(patcher: ModelPatcher) -> Path:
    """The file that a model was loaded from, where its loader left word, or a name for it."""
    made_by = getattr(patcher, "cached_patcher_init", None)
    arguments = made_by[1] if made_by else ()
    path = arguments[0] if arguments else None
    return Path(path) if isinstance(path, str | Path) else Path(f"the MODEL ({type(patcher.model).__name__})")
