"""A weight as a file stores it, and how it becomes numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from ..common.records import record


class Codec(Protocol):
    """The arithmetic of one way to store a matrix. Has no state: everything that varies is in the parts."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def whole(self) -> bool:
        """Whether single rows cannot be read by themselves: embeddings are then dequantised when they are loaded."""
        ...

    def dequantize(self, parts: Mapping[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The matrix of `shape` [rows, columns] in `dtype`, on the device of the parts.

        Scales are multiplied in float32, so that the only rounding is the last one to `dtype`. Unless
        the codec is `whole`, parts whose first dimension counts rows may hold any subset of the rows (an embedding
        looks up single rows).
        """
        ...


@record(eq=False)
class StoredWeight:
    """A matrix in its stored form.

    Attributes:
        codec: reads it.
        parts: the stored tensors by name: always "weight", then whatever the codec needs ("scale", ...). They keep
            the dtype and shape of the file, but for scales of a matrix or of rows: those are float32, [] or [rows, 1].
        shape: [rows, columns] of the matrix they stand for.
    """

    codec: Codec
    parts: Mapping[str, Tensor]
    shape: tuple[int, ...]

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The matrix as plain numbers."""
        return self.codec.dequantize(self.parts, self.shape, dtype)

    def dense_rows(self, rows: slice, dtype: torch.dtype = torch.float32) -> Tensor:
        """Some rows of the matrix as plain numbers."""
        if rows == slice(None):
            return self.dense(dtype)
        return self.dense(dtype)[rows] if self.needs_all_rows else self.of_rows(rows).dense(dtype)

    def of_rows(self, rows: slice) -> StoredWeight:
        """Some rows of the matrix in their stored form, of a codec that can read them by themselves."""
        count = len(range(*rows.indices(self.shape[0])))
        parts = {name: part[rows] if part.shape[:1] == self.shape[:1] else part for name, part in self.parts.items()}
        return StoredWeight(self.codec, parts, (count, *self.shape[1:]))

    @property
    def needs_all_rows(self) -> bool:
        """Whether single rows cannot be read by themselves."""
        return self.codec.whole

    @property
    def is_number_by_number(self) -> bool:
        """Whether "weight" has a byte for every number, rather than blocks of bytes that are unpacked together."""
        weight = self.parts["weight"]
        return weight.element_size() == 1 and tuple(weight.shape) == tuple(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.numel() * part.element_size() for part in self.parts.values())
