"""Where the weights of our models live under ComfyUI: its memory manager loads them, and unloads them for others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import comfy.model_management  # pyright: ignore[reportMissingImports]
import comfy.model_patcher  # pyright: ignore[reportMissingImports]
import torch
from torch import Tensor, nn

from ...memory.policy import RESIDENT, MemoryPolicy, slot_bytes, swapped_blocks
from ...memory.residency import Weights
from ...memory.slabs import Slabs

M = TypeVar("M", bound=nn.Module)
Patcher = TypeVar("Patcher", bound="OfSharedWeights")


class OfSharedWeights(comfy.model_patcher.ModelPatcher):
    """A model as ComfyUI's memory manager knows it, whose weights others may know under other objects.

    They are clones of each other for it, so that it lists the weights once, under whichever came last.
    """

    weights: Weights

    def is_clone(self, other: object) -> bool:
        return isinstance(other, OfSharedWeights) and other.weights is self.weights

    def loaded_size(self) -> int:
        return self.weights.loaded_bytes

    def current_loaded_device(self) -> torch.device:
        return self.load_device if self.weights.loaded_bytes else self.offload_device


class ComfyWeights(OfSharedWeights):
    """Our weights as ComfyUI's memory manager knows a model.

    It decides when they are loaded and unloaded, and counts only what is meant to be on the device. That happens our
    way: whole, and without copying back. For the dynamic offloading of newer versions this is an ordinary model: it
    pages only layers of its own kind, takes room for this one from the models it pages, and never touches the blocks
    that we swap.
    """

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.weights = weights
        super().__init__(weights.module, device, torch.device("cpu"))

    def model_size(self) -> int:
        return self.weights.size_bytes()

    def partially_load(self, device_to: torch.device, *_hints: object, **_options: object) -> int:
        before = self.weights.loaded_bytes
        self.weights.load(device_to)
        return self.weights.loaded_bytes - before

    def partially_unload(self, *_hints: object, **_options: object) -> int:
        freed = self.weights.loaded_bytes
        self.weights.unload()
        return freed

    def detach(self, unpatch_all: bool = True) -> nn.Module:
        if unpatch_all:
            self.weights.unload()
        return self.model


class ComfyResidence(Generic[M]):
    """A model that ComfyUI's memory manager loads, and unloads when another needs the room."""

    def __init__(self, module: M, device: torch.device) -> None:
        self.device = device
        self.module = module
        check = comfy.model_management.throw_exception_if_processing_interrupted
        self.slabs = Slabs(check)
        self.weights = Weights(module, check)
        self._patcher = ComfyWeights(self.weights, device)
        self._needed_bytes = 0
        self._others: dict[type, Any] = {}

    def known_as(self, kind: type[Patcher], make: Callable[[Weights], Patcher]) -> Patcher:
        """These weights under another object of ComfyUI's, which lives as long as they do."""
        found = self._others.get(kind)
        if found is None:
            found = self._others[kind] = make(self.weights)
        return found

    @contextlib.contextmanager
    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> Iterator[M]:
        self.weights.leave_out(swapped_blocks(memory, self.module))
        self._needed_bytes = working_bytes + slot_bytes(memory, self.module, self.device)
        self._load()
        yield self.module

    def unload(self) -> None:
        self.weights.unload()

    def host_tensors(self) -> list[Tensor]:
        return self.weights.host_tensors()

    def reload(self) -> None:
        if not self.weights.is_loaded:
            self._load()

    def _load(self) -> None:
        comfy.model_management.load_models_gpu(
            [self._patcher], memory_required=self._needed_bytes, force_full_load=True
        )
