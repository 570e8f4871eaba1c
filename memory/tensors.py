"""The tensors of a module as a list of places, so that they can be exchanged and put back."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor, nn


class Held(NamedTuple):
    """One parameter or buffer: the submodule that holds it, under which name, and the tensor."""

    owner: nn.Module
    name: str
    tensor: Tensor

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's values."""
        return self.tensor.numel() * self.tensor.element_size()

    def replace(self, tensor: Tensor) -> None:
        """Makes the module hold `tensor` here instead, as a parameter if this one is."""
        if isinstance(self.tensor, nn.Parameter) and not isinstance(tensor, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=self.tensor.requires_grad)
        setattr(self.owner, self.name, tensor)

    def restore(self) -> None:
        """Makes the module hold the tensor of this record again."""
        setattr(self.owner, self.name, self.tensor)


def held_tensors(module: nn.Module, without: Collection[nn.Module] = ()) -> list[Held]:
    """All parameters and buffers of a module, but for those inside the modules of `without`."""
    left_out = {inner for outer in without for inner in outer.modules()}
    return [
        Held(owner, name, tensor)
        for owner in module.modules()
        if owner not in left_out
        for named in (owner.named_parameters(recurse=False), owner.named_buffers(recurse=False))
        for name, tensor in named
    ]


def frozen_tensors(module: nn.Module) -> list[Held]:
    """All of them but for what is trained, which an optimiser knows by the tensor that it is."""
    return [held for held in held_tensors(module) if not held.tensor.requires_grad]


def size_bytes(held: Collection[Held]) -> int:
    """Bytes of all of them."""
    return sum(entry.size_bytes for entry in held)


def is_window(tensor: Tensor) -> bool:
    """Whether the memory belongs to someone else: a map of a file, which takes none of its own."""
    return not tensor.untyped_storage().resizable()
