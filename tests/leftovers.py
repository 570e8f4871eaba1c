"""What a model holds, to see whether a run has left anything on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def everything_on(module: nn.Module) -> dict[str, object]:
    """Every attribute and hook of every part of a module, by identity; tensors by their numbers, wherever they lie."""
    found: dict[str, object] = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            inside = value if isinstance(value, dict) else {"": value}
            found |= {f"{path} {name} {key}": _identity(each) for key, each in inside.items()}
    return found


def _identity(value: object) -> object:
    if not isinstance(value, Tensor):
        return id(value), type(value)
    numbers = value.detach().contiguous().flatten().view(torch.uint8).tolist()
    return type(value), value.dtype, value.shape, value.requires_grad, numbers
