"""How a run multiplies the matrices of a model, and which of them may be multiplied in fp8."""

from __future__ import annotations

from functools import reduce

from torch import Tensor, nn

from .casting import Casting, is_cast
from .fp8 import Fp8Codec
from .layers import ALL_ROWS, Linear, MatrixLayer, Multiplication, Opened, plain_rows
from .stored import Codec


def multiply(layer: nn.Module, x: Tensor, how: Multiplication) -> Tensor:
    """layer(x), by a layer that has a choice in the way that is asked for; any other one has only its own.

    Args:
        layer: a linear layer, stored or not, one with adapters beside it, or an activation.
        x: [..., in].

    Returns:
        [..., out], in the dtype of x.
    """
    return layer(x, how) if isinstance(layer, MatrixLayer) else layer(x)


def opened(layer: nn.Module, like: Tensor, how: Multiplication, rows: slice = ALL_ROWS) -> Opened:
    """Rows of a layer's matrix, made ready for many runs of tokens: `multiply` of each, in other words.

    Args:
        layer: see `multiply`.
        like: of the device and dtype of the tokens.
        rows: of the matrix; another layer than a linear one has all of them only.
    """
    if isinstance(layer, MatrixLayer):
        return layer.opened(like, how, rows)
    if rows == ALL_ROWS:
        return layer
    assert isinstance(layer, nn.Linear), "nothing else has rows"
    return plain_rows(layer, rows)


class MatrixSequence(MatrixLayer, nn.Sequential):
    """As torch.nn.Sequential, of layers some of which multiply."""

    def opened(self, like: Tensor, how: Multiplication = "dense", rows: slice = ALL_ROWS) -> Opened:
        """See `MatrixLayer.opened`; all matrices are open at the same time."""
        *before, last = self
        steps = [*(opened(layer, like, how) for layer in before), opened(last, like, how, rows)]
        return lambda tokens: reduce(lambda x, step: step(x), steps, tokens)

    def forward(self, input: Tensor, how: Multiplication = "dense") -> Tensor:
        """input [..., in] -> [..., out of the last layer]."""
        for layer in self:
            input = multiply(layer, input, how)
        return input


def allow_fp8(module: nn.Module) -> int:
    """Marks the matrices in a module's blocks that may be multiplied in fp8; gives how many there are.

    Left out are those whose publisher asks for 16 bit, and the layers that casting leaves out.
    """
    allowed = [layer for name, layer in module.named_modules() if isinstance(layer, Linear) and _may(name, layer.codec)]
    for layer in allowed:
        layer.may_multiply_in_fp8 = True
    return len(allowed)


def multiplication_of(module: nn.Module, casting: Casting | None) -> Multiplication:
    """How a module that was loaded with a casting is to be multiplied: in fp8 if that is asked for and any may be."""
    if casting is None or not casting.multiplies:
        return "dense"
    may = any(layer.may_multiply_in_fp8 for layer in module.modules() if isinstance(layer, Linear))
    return "fp8" if may else "dense"


def _may(name: str, codec: Codec | None) -> bool:
    return isinstance(codec, Fp8Codec) and codec.multiplies and is_cast(name + ".weight")
