"""Is what came over a socket what the socket is for? Other packs can hand anything to anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from .errors import InvalidInputError

Chosen = TypeVar("Chosen", bound=str)


def tensor_of(value: Any, name: str, expected: str, advice: str) -> Tensor:
    """`value`, if it is a dense tensor of numbers.

    Args:
        value: what came.
        name: of the input, and the first word of the sentence.
        expected: what belongs there, as "a latent [batch, ...]".
        advice: the last sentence of the message.

    Raises:
        InvalidInputError: it is something else.
    """
    if not isinstance(value, Tensor):
        raise InvalidInputError(f"{name} must be {expected}, got {kind_of(value)}. {advice}")
    if value.is_sparse or value.is_nested or value.is_quantized or value.is_complex():
        kind = "complex" if value.is_complex() else "sparse, nested or quantised"
        raise InvalidInputError(f"{name} must be {expected} of plain numbers, got a {kind} tensor. {advice}")
    return value


def has_values(tensor: Tensor) -> bool:
    """Whether there are numbers in a tensor that a check can look at; a plan works with shapes alone."""
    return not tensor.is_meta


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite, as far as there are any."""
    return not has_values(tensor) or bool(torch.isfinite(tensor).all())


def instance_of(value: Any, kind: type, name: str, source: str) -> None:
    """Refuses what is not of a type of ours; `source`: what belongs there, and the node that gives it.

    Raises:
        InvalidInputError: it is something else.
    """
    if not isinstance(value, kind):
        raise InvalidInputError(f"{name} must be {source}, got {kind_of(value)}. Connect that node.")


def object_with(value: Any, method: str, name: str, advice: str) -> Any:
    """`value`, if it has the method that its socket is for.

    Raises:
        InvalidInputError: it is something else.
    """
    if not callable(getattr(value, method, None)):
        raise InvalidInputError(f"{name}, got {kind_of(value)}. {advice}")
    return value


def choice_of(value: str, choices: Sequence[Chosen], name: str) -> Chosen:
    """`value` as the one of the choices that it is; `name`: of the widget, for the message.

    Raises:
        InvalidInputError: it is none of them; the message lists them.
    """
    for each in choices:
        if each == value:
            return each
    raise InvalidInputError(f"The {name} is one of {', '.join(choices)}, got {value!r}.")


def check_number(value: Any, name: str) -> None:
    """Refuses what is no plain number; the range is for others to check.

    Raises:
        InvalidInputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"{name} must be a number, got {kind_of(value)}. Give one.")


def check_count(value: Any, name: str, advice: str) -> None:
    """Refuses what is no whole number from 0 on; `advice`: the last sentence of the message.

    Raises:
        InvalidInputError: it is none.
    """
    check_number(value, name)
    if not isinstance(value, int) or value < 0:
        raise InvalidInputError(f"{name} must be a whole number, 0 or more, got {value:g}. {advice}")


def check_string(value: Any, name: str) -> None:
    """Refuses what is no text.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a text, got {kind_of(value)}. Write one.")


def kind_of(value: Any) -> str:
    """What a value is, in a word or two: "a list", "nothing", "an object of the type ModelPatcher"."""
    if value is None:
        return "nothing"
    if isinstance(value, Tensor):
        return f"a tensor of the shape {list(value.shape)}"
    plain = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a dict"}
    return plain.get(type(value)) or f"an object of the type {type(value).__name__}"
