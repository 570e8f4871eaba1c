"""How the results of two ways are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


def same(one: torch.Tensor, other: torch.Tensor) -> dict[str, Any]:
    """The largest difference of two tensors, relative to the largest value of the second."""
    if one.shape != other.shape:
        raise AssertionError(f"shapes {list(one.shape)} and {list(other.shape)}")
    largest = float(other.abs().max())
    if not largest > 0 or not torch.isfinite(other).all():
        raise AssertionError(f"a reference of {largest}")
    return {"error": float((one.double() - other.double()).abs().max()) / largest}


def average(one: torch.Tensor, other: torch.Tensor) -> dict[str, Any]:
    """The mean difference of two tensors, relative to the largest value of the second."""
    if one.shape != other.shape:
        raise AssertionError(f"shapes {list(one.shape)} and {list(other.shape)}")
    return {"error": float((one.double() - other.double()).abs().mean() / other.abs().max())}


def worst(*results: dict[str, Any]) -> dict[str, Any]:
    """The larger error of several."""
    return max(results, key=lambda result: result["error"])


def fact(is_true: bool, what: str) -> dict[str, Any]:
    """A row about something that is or is not so."""
    if not is_true:
        raise AssertionError(what)
    return {"error": 0.0}


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        run: gives the error, or fails with a sentence of ours.
        limit: the largest error that is let pass.
        words: of the sentence, where it is to be refused.
        needs: nodes of ComfyUI, or dotted names in its modules, which older ones lack.
    """

    run: Callable[[Any], dict[str, Any]]
    limit: float = 0.0
    words: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
