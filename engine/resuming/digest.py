"""A short name for any value of ours: two have the same one when they are made of the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import isfunction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ROOT = __name__.rsplit(".", 3)[0]
"""The pack's name, which ComfyUI makes of its folder's."""


class NoDigest(Exception):  # noqa: N818  (it says what, and is answered)
    """Something in a value cannot be told from others of its kind; the text names it."""


def digest(value: Any) -> str:
    """32 hexadecimal digits for a value of tensors, numbers, texts, paths, dataclasses, collections and functions.

    The same in every process. Objects of other kinds, and functions that carry values with them, have none.

    Raises:
        NoDigest: there is such a thing in it.
    """
    hasher = hashlib.sha256()
    for piece in _pieces(value):
        hasher.update(b"%d:" % len(piece))
        hasher.update(piece)
    return hasher.hexdigest()[:32]


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on any device, without a copy where that can be."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _pieces(value: Any) -> Iterator[bytes | memoryview]:
    if value is None or isinstance(value, (bool, int, str)):
        yield f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")
    elif isinstance(value, (float, np.floating)):
        yield f"float {float(value).hex()}".encode()
    elif isinstance(value, Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        yield tensor_bytes(value)
    elif isinstance(value, Path):
        yield f"path {value.absolute()}".encode("utf-8", "surrogateescape")
    elif isinstance(value, (torch.dtype, torch.device)):
        yield str(value).encode()
    else:
        yield from _pieces_of_many(value)


def _pieces_of_many(value: Any) -> Iterator[bytes | memoryview]:
    """Of what holds other values: its name, how many there are, and each of them."""
    name, parts = _parts(value)
    yield f"{name} {len(parts)}".encode()
    for part in parts:
        yield from _pieces(part)


def _parts(value: Any) -> tuple[str, list[Any]]:
    name = _name(type(value))
    if is_dataclass(value) and not isinstance(value, type):
        return name, [part for field in fields(value) for part in (field.name, getattr(value, field.name))]
    if isinstance(value, (tuple, list)):
        return name, list(value)
    if isinstance(value, (set, frozenset)):
        return "set", sorted(map(digest, value))
    if isinstance(value, Mapping):
        return "mapping", [part for pair in value.items() for part in pair]
    if isinstance(value, partial):
        return "partial", [value.func, value.args, value.keywords]
    if isinstance(value, type) or _is_plain_function(value):
        return _name(value), []
    raise NoDigest(name)


def _name(kind: type | Callable[..., Any]) -> str:
    return f"{kind.__module__.removeprefix(_ROOT)}:{kind.__qualname__}"


def _is_plain_function(value: Any) -> bool:
    """Whether it is a function whose name says all of it."""
    return isfunction(value) and "<" not in value.__qualname__ and value.__closure__ is None
