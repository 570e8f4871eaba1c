"""The processes that share runs with ComfyUI, as its memory manager knows them: it ends them when all is unloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import nn

from ...engine.sharing.crew import Crew


class CrewPlace(comfy.model_patcher.ModelPatcher):
    """One of the processes: a model that is on its device, of which this process has no byte."""

    def __init__(self, device: torch.device, end: Callable[[], None]) -> None:
        super().__init__(nn.Module(), device, torch.device("cpu"))
        self._end = end

    def model_size(self) -> int:
        return 0

    def loaded_size(self) -> int:
        return 0

    def current_loaded_device(self) -> torch.device:
        return self.load_device

    def partially_load(self, device_to: torch.device, *_hints: object, **_options: object) -> int:
        return 0

    def partially_unload(self, *_hints: object, **_options: object) -> int:
        return 0

    def detach(self, unpatch_all: bool = True) -> nn.Module:
        if unpatch_all:
            self._end()
        return self.model


class CrewPlaces:
    """Tells the memory manager of a crew that waits for the next run.

    Args:
        end: ends it, unless it is at work.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._told: tuple[Crew, list[Any]] | None = None

    def keep(self, crew: Crew) -> None:
        """Of the devices of ComfyUI 0.3.64 only its own is ever unloaded as a whole: there it stands for all."""
        if self._told is None or self._told[0] is not crew:
            manager = comfy.model_management
            devices = crew.others if hasattr(manager, "get_all_torch_devices") else [str(manager.get_torch_device())]
            self._told = crew, [CrewPlace(torch.device(device), self._end) for device in dict.fromkeys(devices)]
        comfy.model_management.load_models_gpu(self._told[1])
