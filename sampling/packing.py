"""Frozen values as named tensors and a text, and back: for files that need no pickle.

What a value may be made of: tensors, numbers, texts, None, tuples, mappings with names as keys, and dataclasses and
named tuples of the kinds that the reader knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ..common.errors import InvalidInputError

STRUCTURE = "structure"
"""The tensor that holds the text: JSON in UTF-8, uint8."""

_TENSOR, _TUPLE, _MAPPING, _KIND, _FIELDS = "tensor", "tuple", "mapping", "kind", "fields"


class _Held(NamedTuple):
    """A tensor of a value, and its name."""

    tensor: Tensor
    name: str


def pack(value: Any, kinds: Iterable[type]) -> dict[str, Tensor]:
    """A value as its tensors, named by their places in it, and one more that holds the rest; none is copied.

    Args:
        kinds: the dataclasses and named tuples that may be in it.

    Raises:
        TypeError: something else is in it.
    """
    packing = _Packing(frozenset(kinds))
    text = json.dumps(packing.structure(value, ""))
    packed = {held.name: held.tensor for held in packing.held.values()}
    packed[STRUCTURE] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    return packed


def unpack(tensors: Mapping[str, Tensor], kinds: Iterable[type], device: torch.device | None = None) -> Any:
    """The value that gave these tensors.

    Args:
        kinds: as for `pack`.
        device: for the tensors that were on another than the CPU; None for the CPU.

    Raises:
        InvalidInputError: there is no such value.
    """
    named = {kind.__name__: kind for kind in kinds}
    try:
        structure = json.loads(bytes(tensors[STRUCTURE].tolist()))
        there = torch.device("cpu") if device is None else device
        return _value(structure, named, lambda name, on_cpu: tensors[name] if on_cpu else tensors[name].to(there))
    except KeyError as error:
        lacking = f"lacks {error}, which is needed to go on from it"
    except (ValueError, TypeError, AttributeError, RecursionError):
        lacking = "is damaged"
    raise InvalidInputError(f"The saved state of a run {lacking}. Save it again, or start anew.")


class _Packing:
    """Collects the tensors of a value; one that is in it twice is held once."""

    def __init__(self, kinds: frozenset[type]) -> None:
        self._kinds = kinds
        self._names = {STRUCTURE}
        self.held: dict[int, _Held] = {}

    def structure(self, value: Any, place: str) -> Any:
        """A value without its tensors, as JSON holds it."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):  # one of numpy, too
            return float(value)
        if isinstance(value, Tensor):
            if id(value) not in self.held:
                self.held[id(value)] = _Held(value, self._unused(place or _TENSOR))
            return {_TENSOR: self.held[id(value)].name, "cpu": value.device.type == "cpu"}
        if type(value) in self._kinds:
            parts = {name: self.structure(each, _inside(place, name)) for name, each in _fields_of(value).items()}
            return {_KIND: type(value).__name__, _FIELDS: parts}
        if type(value) is tuple:
            return {_TUPLE: [self.structure(each, _inside(place, str(number))) for number, each in enumerate(value)]}
        if isinstance(value, Mapping) and all(type(name) is str for name in value):
            return {_MAPPING: {name: self.structure(each, _inside(place, name)) for name, each in value.items()}}
        raise TypeError(f"a {type(value).__name__} at {place!r} cannot be saved: make its kind known, or leave it out")

    def _unused(self, name: str) -> str:
        while name in self._names:
            name += "'"
        self._names.add(name)
        return name


def _value(structure: Any, kinds: Mapping[str, type], tensor: Callable[[str, bool], Tensor]) -> Any:
    if not isinstance(structure, dict):
        return structure
    if _TENSOR in structure:
        return tensor(structure[_TENSOR], structure["cpu"])
    if _TUPLE in structure:
        return tuple(_value(each, kinds, tensor) for each in structure[_TUPLE])
    inside = structure[_MAPPING if _MAPPING in structure else _FIELDS]
    parts = {name: _value(each, kinds, tensor) for name, each in inside.items()}
    return parts if _MAPPING in structure else kinds[structure[_KIND]](**parts)


def _fields_of(value: Any) -> dict[str, Any]:
    names = [field.name for field in fields(value)] if is_dataclass(value) else cast(Any, value)._fields
    return {name: getattr(value, name) for name in names}


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
