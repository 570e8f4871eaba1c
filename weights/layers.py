"""The layers of quantised models: an `operations` namespace whose matrices may stay in their stored form.

A layer is a plain torch layer until `store` gives it a `StoredWeight`. From then on its parts are buffers named
`weight`, `weight_scale`, ... and move with the module; the matrix is made anew for every use and dropped after it,
unless a run keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fp8_compute import fp8_linear
from .stored import Codec, StoredWeight

LayerNorm = nn.LayerNorm
GroupNorm = nn.GroupNorm
Conv1d = nn.Conv1d
Conv2d = nn.Conv2d
Conv3d = nn.Conv3d

Multiplication = Literal["dense", "fp8"]
"""How matrices are multiplied: as plain numbers, which stored ones become for every use, or in fp8 where allowed."""

ALL_ROWS = slice(None)
"""Of a matrix: every column of what it makes of tokens."""

Opened = Callable[[Tensor], Tensor]
"""Multiplies tokens [..., in] with rows of a matrix that was made ready for that: [..., rows], in their dtype."""


class PlainCopy:
    """The numbers of a stored weight, made at the first use and kept as long as this is."""

    def __init__(self) -> None:
        self._numbers: Tensor | None = None

    def of(self, stored: StoredWeight, dtype: torch.dtype) -> Tensor:
        """The weight as plain numbers, which must not be written to."""
        if self._numbers is None or self._numbers.dtype != dtype:
            self._numbers = stored.dense(dtype)
        return self._numbers


class StoringLayer(nn.Module):
    """What Linear and Embedding share: a weight that may be kept in a stored form.

    `kept` holds what becomes of it at the first use, see `memory.plain_matrices`; None where it is made for every use.
    """

    weight: Tensor
    kept: PlainCopy | None = None
    codec: Codec | None = None
    stored_shape: tuple[int, ...] = ()
    part_names: tuple[str, ...] = ()

    def store(self, weight: StoredWeight) -> None:
        """Replaces the weight by a stored one of the same shape."""
        del self.weight
        self.codec, self.stored_shape = weight.codec, weight.shape
        self.part_names = tuple(weight.parts)
        for name, part in weight.parts.items():
            self.register_buffer(_buffer_name(name), part)

    @property
    def is_stored(self) -> bool:
        """Whether the weight is kept in a stored form, so that there is no plain one to add to."""
        return self.codec is not None

    def stored(self) -> StoredWeight | None:
        """The stored weight where it is now, or None for a plain one."""
        if self.codec is None:
            return None
        parts = {name: getattr(self, _buffer_name(name)) for name in self.part_names}
        return StoredWeight(self.codec, parts, self.stored_shape)

    def dense_weight(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight as plain numbers [rows, columns]."""
        stored = self.stored()
        return self.weight.to(dtype) if stored is None else stored.dense(dtype)


class MatrixLayer(nn.Module):
    """A layer that is told in each call how to multiply its matrix, see `multiplication.multiply`."""

    def opened(self, like: Tensor, how: Multiplication = "dense", rows: slice = ALL_ROWS) -> Opened:
        """Rows of the matrix for tokens of the device and dtype of `like`, a run after the other.

        What is made of a stored matrix is made once and kept as long as the result is.
        """
        raise NotImplementedError

    def forward(self, input: Tensor, how: Multiplication = "dense") -> Tensor:
        """input [..., in_features] -> [..., out_features], in the dtype of the input."""
        return self.opened(input, how)(input)


class Linear(StoringLayer, MatrixLayer, nn.Linear):
    """As torch.nn.Linear. `may_multiply_in_fp8` is decided at loading, see `multiplication.allow_fp8`."""

    may_multiply_in_fp8: bool = False

    def opened(self, like: Tensor, how: Multiplication = "dense", rows: slice = ALL_ROWS) -> Opened:
        """See `MatrixLayer.opened`."""
        stored = self.stored()
        if stored is None:
            return plain_rows(self, rows)
        bias = _rows_of(self.bias, rows)
        if how == "fp8" and self.may_multiply_in_fp8:
            return partial(_in_fp8, stored=stored if rows == ALL_ROWS else stored.of_rows(rows), bias=bias)
        if self.kept is not None:
            return partial(F.linear, weight=_rows_of(self.kept.of(stored, like.dtype), rows), bias=bias)
        return partial(_made_again, dense=stored.dense_rows(rows, like.dtype), bias=bias, stored=stored, rows=rows)


class _MadeAgain(torch.autograd.Function):
    """x @ W.T + b of a frozen matrix that is stored packed: what goes back to x makes the plain numbers anew.

    So nothing but the stored parts waits for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dense: Tensor, bias: Tensor | None, stored: StoredWeight, rows: slice) -> Tensor:
        ctx.stored, ctx.rows = stored, rows
        return F.linear(x, dense, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        wants_input, _, wants_bias, *_ = ctx.needs_input_grad
        back = gradient @ ctx.stored.dense_rows(ctx.rows, gradient.dtype) if wants_input else None
        of_bias = gradient.flatten(0, -2).sum(0) if wants_bias else None
        return back, None, of_bias, None, None


def _made_again(x: Tensor, dense: Tensor, bias: Tensor | None, stored: StoredWeight, rows: slice) -> Tensor:
    return _MadeAgain.apply(x, dense, bias, stored, rows) if x.requires_grad else F.linear(x, dense, bias)


def plain_rows(layer: nn.Linear, rows: slice = ALL_ROWS) -> Opened:
    """Rows of a plain layer, see `MatrixLayer.opened`."""
    return partial(F.linear, weight=_rows_of(layer.weight, rows), bias=_rows_of(layer.bias, rows))


def _rows_of(values: Tensor, rows: slice) -> Tensor:
    return values if values is None or rows == ALL_ROWS else values[rows]


def _in_fp8(x: Tensor, stored: StoredWeight, bias: Tensor | None) -> Tensor:
    out = fp8_linear(x, stored.parts, bias)
    return F.linear(x, stored.dense(x.dtype), bias) if out is None else out


class Embedding(StoringLayer, nn.Embedding):
    """As torch.nn.Embedding. A stored table gives rows in `output_dtype`."""

    output_dtype: torch.dtype = torch.float32

    def forward(self, input: Tensor) -> Tensor:
        """input: ids [...] of int64 -> [..., embedding_dim]; only the rows asked for are dequantised."""
        stored = self.stored()
        if stored is None:
            return F.embedding(input, self.weight)
        rows = input.flatten()
        count = self.stored_shape[0]
        parts = {name: _rows(part, rows) if part.shape[:1] == (count,) else part for name, part in stored.parts.items()}
        table = stored.codec.dequantize(parts, (len(rows), *self.stored_shape[1:]), self.output_dtype)
        return table.unflatten(0, input.shape)


def _rows(part: Tensor, rows: Tensor) -> Tensor:
    """part[rows]; as bytes, since older versions of torch look up no fp8 (pytorch/pytorch issue 133605)."""
    return part.view(torch.uint8)[rows].view(part.dtype) if part.element_size() == 1 else part[rows]


def _buffer_name(part: str) -> str:
    return part if part == "weight" else f"weight_{part}"
