"""Weights with their changes summed in: for small parameters, for exact merging, and for the lengths DoRA needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from ...weights.layers import StoringLayer
from .deltas import Change

_ROWS = 1024
"""Rows of a weight that are summed at a time; bounds the float32 memory to a fraction of the weight."""

Rows = Callable[[slice], Tensor]
"""Gives some rows of a weight in float32."""


def weight_rows(layer: Any) -> Rows:
    """The rows of a layer's weight as numbers, whatever form it is stored in. A stored one is made plain once."""
    if is_stored(layer):
        dense = layer.dense_weight(torch.float32)
        return lambda part: dense[part]
    return lambda part: layer.weight[part].float()


def is_stored(layer: nn.Module) -> TypeGuard[StoringLayer]:
    """Whether a layer keeps its weight in a quantised form, so that it has no plain weight to add to."""
    return isinstance(layer, StoringLayer) and layer.is_stored


def dora_gain(rows: Rows, count: int, change: Change) -> Tensor:
    """By what each row (or column) of W + delta is multiplied: magnitude / length, float32, shape of the magnitude.

    Args:
        rows: the rows of W.
        count: how many rows W has.
        change: one with a magnitude.
    """
    assert change.magnitude is not None
    magnitude = change.magnitude.float()
    tiny = torch.finfo(torch.float32).tiny
    if magnitude.shape[1] == 1:
        lengths = [(rows(part) + change.delta.rows(part)).norm(dim=1) for part in _parts(count)]
        return magnitude / torch.cat(lengths).clamp_min(tiny)[:, None]
    squares = cast(Tensor, sum((rows(part) + change.delta.rows(part)).square().sum(dim=0) for part in _parts(count)))
    return magnitude / squares.sqrt().clamp_min(tiny)[None]


def merged(weight: Tensor, changes: Sequence[tuple[Change, float]]) -> Tensor:
    """weight + the sum of all changes, summed in float32 and rounded once: a new tensor like `weight`.

    Args:
        weight: a plain parameter; it is seen as a matrix [first dimension, rest].
        changes: (change, strength) pairs; their tensors are on the device of the weight.
    """
    matrix = weight.reshape(len(weight), -1)
    result = torch.empty_like(matrix)
    changes = [(change.of(weight), strength) for change, strength in changes]
    gains = [_gain(matrix, change) for change, _ in changes]
    for part in _parts(len(matrix)):
        base = matrix[part].float()
        total = base.clone()
        for (change, strength), gain in zip(changes, gains):
            delta = change.delta.rows(part).reshape(base.shape)
            if change.replaces:
                total.add_(delta - base, alpha=strength)
            elif gain is None:
                total.add_(delta, alpha=strength)
            else:
                scaled = (base + delta) * (gain[part] if gain.shape[1] == 1 else gain)
                total.add_(scaled - base, alpha=strength)
        result[part] = total.to(result.dtype)
    return result.view(weight.shape)


def _gain(matrix: Tensor, change: Change) -> Tensor | None:
    if change.magnitude is None:
        return None
    return dora_gain(lambda part: matrix[part].float(), len(matrix), change)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))
