"""Stored matrices that a run makes plain once and keeps, where there is memory left for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from ..weights.layers import PlainCopy, StoringLayer


@contextmanager
def plain_matrices(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, the stored matrices of these blocks become plain numbers at their first use, and stay so.

    All blocks come in turn in every pass, so that it is best to keep those of some and none of the others.
    """
    layers = [layer for block in blocks for layer in block.modules() if isinstance(layer, StoringLayer)]
    before = [layer.kept for layer in layers]
    try:
        for layer in layers:
            layer.kept = PlainCopy()
        yield
    finally:
        for layer, kept in zip(layers, before):
            layer.kept = kept
