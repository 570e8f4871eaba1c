"""The algebraic forms of a change: which tensors make one, what shape it has, and the delta it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple

from torch import Tensor

from ...dit.adapters import Delta, Full, Hadamard, Kronecker, LowRank

Shapes = Mapping[str, tuple[int, ...]]
Matrix = tuple[int, int]


class Form(NamedTuple):
    """One form.

    Attributes:
        title: for messages.
        parts: all roles it knows, the first of which every group of this form has or lacks a partner of.
        shape: shapes by role -> [out, in] of the change; None if the tensors do not fit each other.
        rank: the rank that alpha is divided by; None where alpha has no effect.
        make: tensors by role and scale -> delta.
    """

    title: str
    parts: tuple[str, ...]
    shape: Callable[[Shapes], Matrix | None]
    rank: Callable[[Shapes], int | None]
    make: Callable[[Mapping[str, Tensor], float], Delta]


def _product(left: tuple[int, ...] | None, right: tuple[int, ...] | None) -> Matrix | None:
    """Shape of left @ right, each seen as a matrix [first dimension, rest]; None if one lacks or they do not fit."""
    if not left or not right or len(left) < 2 or len(right) < 2 or prod(left[1:]) != right[0]:
        return None
    return left[0], prod(right[1:])


def _low_rank_shape(shapes: Shapes) -> Matrix | None:
    if "gate" in shapes and (not shapes.get("down") or prod(shapes["gate"]) != shapes["down"][0]):
        return None
    return _product(shapes.get("up"), shapes.get("down"))


def _make_low_rank(parts: Mapping[str, Tensor], scale: float) -> LowRank:
    """up @ down; AdaLoRA (Zhang et al., arXiv 2303.10512) has a factor for each rank between the two."""
    down = parts["down"].flatten(1)
    if "gate" in parts:
        down = down * parts["gate"].reshape(-1, 1)
    return LowRank(down, parts["up"].flatten(1), scale)


def _hadamard_shape(shapes: Shapes) -> Matrix | None:
    first = _product(shapes.get("hada_w1_a"), shapes.get("hada_w1_b"))
    second = _product(shapes.get("hada_w2_a"), shapes.get("hada_w2_b"))
    return first if first == second else None


def _make_hadamard(parts: Mapping[str, Tensor], scale: float) -> Hadamard:
    down_1, up_1 = parts["hada_w1_b"].flatten(1), parts["hada_w1_a"].flatten(1)
    down_2, up_2 = parts["hada_w2_b"].flatten(1), parts["hada_w2_a"].flatten(1)
    return Hadamard(down_1, up_1, down_2, up_2, scale)


def _kronecker_shape(shapes: Shapes) -> Matrix | None:
    left, right = (
        _matrix(shapes.get(side)) or _product(shapes.get(f"{side}_a"), shapes.get(f"{side}_b"))
        for side in ("lokr_w1", "lokr_w2")
    )
    return None if left is None or right is None else (left[0] * right[0], left[1] * right[1])


def _kronecker_rank(shapes: Shapes) -> int | None:
    """LyCORIS scales only products, by the rank of the right one if both are products."""
    downs = [shapes[name][0] for name in ("lokr_w2_b", "lokr_w1_b") if name in shapes]
    return downs[0] if downs else None


def _make_kronecker(parts: Mapping[str, Tensor], scale: float) -> Kronecker:
    left, right = ((parts[side] if side in parts else parts[f"{side}_a"]).flatten(1) for side in ("lokr_w1", "lokr_w2"))
    left_down, right_down = parts.get("lokr_w1_b"), parts.get("lokr_w2_b")
    return Kronecker(left, right, left_down, None if right_down is None else right_down.flatten(1), scale)


def _matrix(shape: tuple[int, ...] | None) -> Matrix | None:
    return (shape[0], prod(shape[1:])) if shape and len(shape) > 1 else None


def _make_full(parts: Mapping[str, Tensor], scale: float) -> Full:
    return Full(parts["diff"].flatten(1), scale)


def _make_whole(parts: Mapping[str, Tensor], scale: float) -> Full:
    return Full(parts["whole"].flatten(1))


FORMS = (
    Form("LoRA", ("down", "up", "gate"), _low_rank_shape, lambda shapes: shapes["down"][0], _make_low_rank),
    Form(
        "LoHa",
        ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
        _hadamard_shape,
        lambda shapes: shapes["hada_w1_b"][0],
        _make_hadamard,
    ),
    Form(
        "LoKr",
        ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"),
        _kronecker_shape,
        _kronecker_rank,
        _make_kronecker,
    ),
    Form("whole weight", ("whole",), lambda shapes: _matrix(shapes["whole"]), lambda shapes: None, _make_whole),
    Form("difference", ("diff",), lambda shapes: _matrix(shapes["diff"]), lambda shapes: None, _make_full),
)
