"""What is added to one weight: low-rank, Hadamard and Kronecker products and full differences.

Each can be applied to tokens without being written out (`add_to`), and written out some rows at a time (`rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol, TypeGuard, TypeVar, cast

import torch
from torch import Tensor, nn

from ...common.records import record

_PAIRS = 256
"""Columns of a Hadamard product that are made at a time: enough to fill a matrix unit, little to hold."""

AnyDelta = TypeVar("AnyDelta", bound="Delta")


class Delta(Protocol):
    """A matrix [out, in] in some factored form, whose tensors are its dataclass fields."""

    def add_to(self, y: Tensor, x: Tensor, strength: float) -> None:
        """y [tokens, out] += strength * x [tokens, in] @ delta.T, in place; the factors are in the dtype of x."""
        ...

    def rows(self, part: slice) -> Tensor:
        """Some rows of the delta, float32: [rows, in]."""
        ...

    def of_rows(self, part: slice) -> Delta:
        """The delta of some rows: what it adds to them alone."""
        ...


@record(eq=False)
class LowRank:
    """scale * up @ down.

    Attributes:
        down: [rank, in].
        up: [out, rank].
        scale: alpha / rank.

    Source: Hu et al., "LoRA", arXiv 2106.09685.
    """

    down: Tensor
    up: Tensor
    scale: float = 1.0

    def add_to(self, y: Tensor, x: Tensor, strength: float) -> None:
        """See `Delta`; costs tokens * rank beside the base layer's tokens * out."""
        y.addmm_(x @ self.down.T, self.up.T, alpha=self.scale * strength)

    def rows(self, part: slice) -> Tensor:
        return self.scale * (self.up[part].float() @ self.down.float())

    def of_rows(self, part: slice) -> LowRank:
        return replace(self, up=self.up[part])


@record(eq=False)
class Hadamard:
    """scale * (up_1 @ down_1) * (up_2 @ down_2), element by element (LoHa).

    Attributes:
        down_1, down_2: [rank, in]; the ranks of the two may differ.
        up_1, up_2: [out, rank].

    Source: Hyeon-Woo et al., "FedPara", arXiv 2108.06098.
    """

    down_1: Tensor
    up_1: Tensor
    down_2: Tensor
    up_2: Tensor
    scale: float = 1.0

    def add_to(self, y: Tensor, x: Tensor, strength: float) -> None:
        """See `Delta`. The product is one of rank r1 * r2: pairs of the ups' columns and the downs' rows."""
        count = max(1, _PAIRS // len(self.down_2))
        for start in range(0, len(self.down_1), count):
            part = slice(start, start + count)
            down = (self.down_1[part, None] * self.down_2[None]).flatten(0, 1)  # [pairs, in]
            up = (self.up_1[:, part, None] * self.up_2[:, None]).flatten(1)  # [out, pairs]
            y.addmm_(x @ down.T, up.T, alpha=self.scale * strength)

    def rows(self, part: slice) -> Tensor:
        first = self.up_1[part].float() @ self.down_1.float()
        return self.scale * first * (self.up_2[part].float() @ self.down_2.float())

    def of_rows(self, part: slice) -> Hadamard:
        return replace(self, up_1=self.up_1[part], up_2=self.up_2[part])


@record(eq=False)
class Kronecker:
    """scale * kron(left, right), each a matrix or a product of two (LoKr).

    Attributes:
        left: [out_1, in_1], or [out_1, rank] with `left_down` [rank, in_1].
        right: [out_2, in_2], or [out_2, rank] with `right_down` [rank, in_2]; out = out_1 * out_2, in likewise.

    Source: Yeh et al., "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
    arXiv 2309.14859.
    """

    left: Tensor
    right: Tensor
    left_down: Tensor | None = None
    right_down: Tensor | None = None
    scale: float = 1.0

    def add_to(self, y: Tensor, x: Tensor, strength: float) -> None:
        """See `Delta`. kron(L, R) x is R applied to each of in_1 parts of x, then L across the parts.

        By products of two matrices alone: `matmul` of more dimensions takes another way where a gradient is recorded,
        and what is learned would not compute to the bit as what is saved of it.
        """
        left = self._left()
        parts = x.reshape(-1, x.shape[-1] // left.shape[1])  # [tokens * in_1, in_2]
        if self.right_down is not None:
            parts = parts @ self.right_down.T
        parts = (parts @ self.right.T).unflatten(0, (len(x), -1))  # [tokens, in_1, out_2]
        out = parts.transpose(1, 2).flatten(0, 1) @ left.T  # [tokens * out_2, out_1]
        out = out.unflatten(0, (len(x), -1)).transpose(1, 2)  # [tokens, out_1, out_2]
        y.add_(out.flatten(-2), alpha=self.scale * strength)

    def rows(self, part: slice) -> Tensor:
        left, right = self._left().float(), self.right.float()
        if self.right_down is not None:
            right = right @ self.right_down.float()
        numbers = torch.arange(left.shape[0] * right.shape[0], device=left.device)[part]
        chosen = left[numbers // len(right), :, None] * right[numbers % len(right), None]  # [rows, in_1, in_2]
        return self.scale * chosen.flatten(1)

    def of_rows(self, part: slice) -> SomeRows:
        return SomeRows(self, part)

    def _left(self) -> Tensor:
        return self.left if self.left_down is None else self.left @ self.left_down


@record(eq=False)
class Full:
    """A difference written out: of a matrix [out, in], a bias or norm [out], or of any other parameter in its shape."""

    values: Tensor
    scale: float = 1.0

    def add_to(self, y: Tensor, x: Tensor, strength: float) -> None:
        """See `Delta`."""
        y.addmm_(x, self.values.T, alpha=self.scale * strength)

    def rows(self, part: slice) -> Tensor:
        return self.scale * self.values[part].float()

    def of_rows(self, part: slice) -> Full:
        return replace(self, values=self.values[part])


@record(eq=False)
class SomeRows:
    """Rows of a product that has none by itself: it is applied whole, and they are taken of the result."""

    product: Kronecker
    part: slice

    def add_to(self, y: Tensor, x: Tensor, strength: float) -> None:
        """See `Delta`."""
        product = self.product
        whole = y.new_zeros(len(x), product.left.shape[0] * product.right.shape[0])
        product.add_to(whole, x, strength)
        y.add_(whole[:, self.part])

    def rows(self, part: slice) -> Tensor:
        return self.product.rows(self.part)[part]

    def of_rows(self, part: slice) -> SomeRows:
        raise NotImplementedError("rows are taken once")


@record(eq=False)
class Rewritten:
    """A parameter computed from the model's own one at every use, for what is no sum of factors.

    Attributes:
        function: gets the parameter as plain float32 numbers in its own shape, which it may overwrite, and gives the
            new one, float32, of this shape.
    """

    function: Callable[[Tensor], Tensor]

    def add_to(self, y: Tensor, x: Tensor, strength: float) -> None:
        raise NotImplementedError("what is computed from the whole weight is merged into it")

    def rows(self, part: slice) -> Tensor:
        raise NotImplementedError("what is computed from the whole weight has no rows without it")

    def of_rows(self, part: slice) -> Delta:
        raise NotImplementedError("what is computed from the whole weight has no rows without it")


@record(eq=False)
class Change:
    """What one adapter does to one parameter W.

    Without magnitude: W + strength * delta. With it (DoRA): every row of W + delta gets the length that `magnitude`
    [out, 1] says, or every column that of `magnitude` [1, in]; strength blends from W to that. One that `replaces`
    holds the trained parameter itself in its delta; strength blends from W to it, and so it does for `Rewritten`.

    Source: Liu et al., "DoRA", arXiv 2402.09353, equation 5.
    """

    delta: Delta
    magnitude: Tensor | None = None
    replaces: bool = False

    @property
    def needs_weight(self) -> bool:
        """Whether nothing is known of it but what it makes of the whole weight, so that it is merged at every use."""
        return isinstance(self.delta, Rewritten)

    def of(self, weight: Tensor) -> Change:
        """The change as what it makes of this parameter, in its own shape, where it needs that; or else itself."""
        if not isinstance(self.delta, Rewritten):
            return self
        return Change(Full(self.delta.function(weight.to(torch.float32, copy=True))), replaces=True)

    @property
    def size_bytes(self) -> int:
        """Bytes of its tensors."""
        tensors = [*tensors_of(self.delta).values(), *([] if self.magnitude is None else [self.magnitude])]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def joined(parts: Sequence[tuple[LowRank, float]]) -> tuple[LowRank, float]:
    """Several low-rank deltas with a strength each as one, whose rank is the sum of theirs, with one strength.

    Tokens are then read and written once for all of them, and the sum is rounded once. A factor `up` is scaled by the
    part of the strongest that its own strength is, at most 1, so that it does not leave the range of float16.
    """
    strengths = [delta.scale * strength for delta, strength in parts]
    strongest = max(strengths, key=abs)
    ups = [delta.up if own == strongest else delta.up * (own / strongest) for (delta, _), own in zip(parts, strengths)]
    return LowRank(torch.cat([delta.down for delta, _ in parts]), torch.cat(ups, dim=1)), strongest


def tensors_of(delta: Delta) -> dict[str, Tensor]:
    """The factors of a delta by field name."""
    values = {field.name: getattr(delta, field.name) for field in fields(cast(Any, delta))}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def with_tensors(delta: AnyDelta, tensors: dict[str, Tensor]) -> AnyDelta:
    """The delta with other tensors in the place of its own (moved, cast)."""
    return replace(cast(Any, delta), **tensors)


def is_trainable(tensor: Tensor | None) -> TypeGuard[nn.Parameter]:
    """Whether a tensor of a change is learned: a parameter, in place of the plain tensor that a file gives."""
    return isinstance(tensor, nn.Parameter) and tensor.requires_grad
