"""Whether the matrices of a model are multiplied in fp8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from .casting import is_cast
from .fp8 import Fp8Codec
from .layers import Linear
from .stored import Codec


def use_fp8_compute(module: nn.Module, enabled: bool) -> int:
    """Lets the fp8 matrices in a module's blocks be multiplied in fp8, or not; gives how many there are.

    Left out are those whose publisher asks for 16 bit, and the layers that casting leaves out.
    """
    changed = 0
    for name, layer in module.named_modules():
        if isinstance(layer, Linear) and _may_multiply(name, layer.codec):
            layer.fp8_compute = enabled
            changed += 1
    return changed


def multiplies_in_fp8(module: nn.Module) -> bool:
    """Whether any matrix of a module is multiplied in fp8."""
    return bool(_multiplying(module))


@contextmanager
def without_fp8_compute(module: nn.Module) -> Iterator[None]:
    """A module whose matrices are all multiplied in 16 bit, for the time of the context."""
    layers = _multiplying(module)
    try:
        for layer in layers:
            layer.fp8_compute = False
        yield
    finally:
        for layer in layers:
            layer.fp8_compute = True


def _may_multiply(name: str, codec: Codec | None) -> bool:
    return isinstance(codec, Fp8Codec) and codec.multiplies and is_cast(name + ".weight")


def _multiplying(module: nn.Module) -> list[Linear]:
    return [layer for layer in module.modules() if isinstance(layer, Linear) and layer.fp8_compute]
