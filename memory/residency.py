"""Weights that wait on the CPU and are copied to a device to compute."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from .tensors import Held, held_tensors, size_bytes


class Weights:
    """The weights of a module, which is on the CPU when this is made, and their copies on a device.

    The tensors on the CPU are kept and put back as they are. So nothing is copied back, and a weight that is a window
    into its file stays one, instead of becoming memory of its own.

    Args:
        check: called before each tensor is copied; what it raises ends the load.
    """

    def __init__(self, module: nn.Module, check: Callable[[], None] = lambda: None) -> None:
        self.module = module
        self._check = check
        self.loaded_bytes = 0
        self._away: tuple[nn.Module, ...] = ()
        self._waiting: dict[tuple[nn.Module, str], Held] = {}
        self._is_whole = False

    @property
    def is_loaded(self) -> bool:
        """Whether the module holds copies on a device."""
        return bool(self._waiting)

    @property
    def is_whole(self) -> bool:
        """Whether it holds copies of all that is to be there."""
        return self._is_whole

    def size_bytes(self) -> int:
        """Bytes that `load` brings to the device."""
        return size_bytes(held_tensors(self.module, self._away)) if not self._is_whole else self.loaded_bytes

    def host_tensors(self) -> list[Tensor]:
        """The weights as they lie on the CPU, wherever their copies are."""
        held_now = held_tensors(self.module)
        return [self._waiting.get((held.owner, held.name), held).tensor for held in held_now]

    def leave_out(self, modules: Collection[nn.Module]) -> None:
        """From now on the weights inside these modules stay on the CPU; those that are elsewhere come back at once."""
        if set(modules) != set(self._away):
            self.take_away(modules)
            self._away, self._is_whole = tuple(modules), False

    def take_away(self, modules: Collection[nn.Module]) -> int:
        """Makes these modules hold their own tensors again, until the next `load`; gives the bytes of their copies."""
        inner = {part for module in modules for part in module.modules()}
        taken = [key for key in self._waiting if key[0] in inner]
        before = self.loaded_bytes
        for key in taken:
            held = self._waiting.pop(key)
            held.restore()
            self.loaded_bytes -= held.size_bytes
        self._is_whole = self._is_whole and not taken
        return before - self.loaded_bytes

    def load(self, device: torch.device) -> None:
        """Makes the module hold copies on `device`; once is enough. When it fails, nothing is there any more."""
        if self._is_whole:
            return
        with ExitStack() as failed:
            failed.callback(self.unload)
            for held in held_tensors(self.module, self._away):
                if (held.owner, held.name) in self._waiting:
                    continue
                self._check()
                held.replace(held.tensor.to(device))
                self._waiting[held.owner, held.name] = held
                self.loaded_bytes += held.size_bytes
            self._is_whole = True
            failed.pop_all()

    def unload(self) -> None:
        """Makes the module hold its own tensors again; the copies are dropped."""
        for held in self._waiting.values():
            held.restore()
        self._waiting, self.loaded_bytes, self._is_whole = {}, 0, False
