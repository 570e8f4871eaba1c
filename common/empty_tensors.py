"""Tensors with a shape and no values: what a run is planned with. They are torch's on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .errors import UnknownValueError

LARGE = 1 << 16
"""Numbers from which on a new tensor has none: schedules keep theirs, pictures and latents do not."""


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor without values; it takes no memory, whatever its shape."""
    return torch.empty(shape, dtype=dtype, device="meta")


class EmptyTensors(TorchFunctionMode):
    """Inside of it, work with empty tensors gives empty ones, wherever the others are that take part.

    New tensors are empty from `LARGE` numbers on. To write empty values into a tensor that has its own leaves those.
    It holds for this thread.

    Raises:
        UnknownValueError: the values of an empty tensor are asked for.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = func.__name__
        if name == "__get__":
            return func(*args, **kwargs)
        if func in _MAKERS:
            return _made(func, args, kwargs)
        if not any(tensor.is_meta for tensor in _tensors((args, kwargs))):
            return _grown(func, args, kwargs) if name in _GROWING else func(*args, **kwargs)
        first = args[0] if args else None
        if name in _READING:
            raise UnknownValueError("It needs values that are not known before the run.")
        if isinstance(first, Tensor) and not first.is_meta and _writes(name):
            return first
        return _shaped(func, args, kwargs)


def _made(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    without = {name: value for name, value in kwargs.items() if name != "generator"}
    shaped = _MAKERS[func](*args, **{**without, "device": "meta"})
    return shaped if func is torch.empty or shaped.numel() >= LARGE else func(*args, **kwargs)


def _grown(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    shaped = _shaped(func, args, kwargs)
    return shaped if shaped.numel() >= LARGE else func(*args, **kwargs)


def _shaped(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a function gives of empty tensors.

    The commonest have their rule here: torch's own for them bring in its compiler, which takes two seconds.
    """
    rule = _RULES.get(func.__name__)
    if func.__name__ in _ELEMENTWISE:
        return _elementwise(func.__name__, args, kwargs)
    return func(*_emptied(args), **_emptied(kwargs)) if rule is None else rule(*args, **kwargs)


def _elementwise(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    tensors = list(_tensors((args, kwargs)))
    values = tensors[1:] if name == "where" and len(tensors) > 1 else tensors
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in values))
    if name in _COMPARING:
        dtype = torch.bool
    elif not dtype.is_floating_point and any(isinstance(value, float) for value in args):
        dtype = torch.float32
    return empty(*_broadcast([tuple(tensor.shape) for tensor in tensors]), dtype=dtype)


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    longest = max(map(len, shapes))
    sides = zip(*((1,) * (longest - len(shape)) + shape for shape in shapes))
    shape = []
    for found in sides:
        others = {side for side in found if side != 1}
        if len(others) > 1:
            raise RuntimeError(f"shapes that do not go together: {shapes}")
        shape.append(others.pop() if others else 1)
    return shape


def _joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    dim %= tensors[0].ndim
    shape = list(tensors[0].shape)
    for other in tensors[1:]:
        if [side for at, side in enumerate(other.shape) if at != dim] != shape[:dim] + shape[dim + 1 :]:
            raise RuntimeError(f"tensors that cannot be joined: {[list(tensor.shape) for tensor in tensors]}")
        shape[dim] += other.shape[dim]
    return empty(*shape, dtype=reduce(torch.promote_types, (tensor.dtype for tensor in tensors)))


def _stacked(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return _joined([tensor.to("meta").unsqueeze(dim) for tensor in tensors], dim)


def _repeated(tensor: Tensor, *times: Any) -> Tensor:
    counts = times[0] if len(times) == 1 and not isinstance(times[0], int) else times
    sides = (1,) * (len(counts) - tensor.ndim) + tuple(tensor.shape)
    return empty(*(side * count for side, count in zip(sides, counts)), dtype=tensor.dtype)


def _resized(tensor: Tensor, size: Any = None, scale_factor: Any = None, **_: Any) -> Tensor:
    sides = tensor.shape[2:]
    if size is None:
        factors = scale_factor if isinstance(scale_factor, Sequence) else [scale_factor] * len(sides)
        size = [int(side * factor) for side, factor in zip(sides, factors)]
    size = [size] * len(sides) if isinstance(size, int) else size
    return empty(*tensor.shape[:2], *size, dtype=tensor.dtype)


def _alike(tensor: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return empty(*tensor.shape, dtype=dtype or tensor.dtype)


def _averaged(tensor: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    dims = range(tensor.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    gone = {each % tensor.ndim for each in dims}
    sides = [1 if at in gone else side for at, side in enumerate(tensor.shape) if keepdim or at not in gone]
    return empty(*sides, dtype=tensor.dtype)


def _converted(tensor: Tensor, *wanted: Any, **named: Any) -> Tensor:
    """As `Tensor.to`; an empty tensor has no device to go to."""
    for each in (*wanted, *named.values()):
        dtype = each if isinstance(each, torch.dtype) else each.dtype if isinstance(each, Tensor) else None
        if dtype is not None:
            return empty(*tensor.shape, dtype=dtype)
    return tensor.to("meta")


def _writes(name: str) -> bool:
    return name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.startswith("_"))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _emptied(value: Any) -> Any:
    """The same with every tensor empty."""
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {name: _emptied(each) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_emptied(each) for each in value)
    return value


# What makes tensors -> what gives their shape.
_MAKERS: Mapping[Callable[..., Tensor], Callable[..., Tensor]] = {
    torch.zeros: torch.zeros, torch.ones: torch.ones, torch.full: torch.full, torch.empty: torch.empty,
    torch.rand: torch.empty, torch.randn: torch.empty,
}  # fmt: skip
_RULES: Mapping[str, Callable[..., Tensor]] = {
    "cat": _joined, "stack": _stacked, "repeat": _repeated, F.interpolate.__name__: _resized, "mean": _averaged,
    "zeros_like": _alike, "ones_like": _alike, "empty_like": _alike, "to": _converted, "cpu": _converted,
    "cuda": _converted,
}  # fmt: skip
_GROWING = frozenset({
    "repeat", "new_zeros", "new_ones", "new_full", "new_empty", "interpolate", "pad", "cat", "stack",
})  # fmt: skip
"""What makes much out of little."""
_READING = frozenset({
    "item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__", "nonzero", "equal",
    "allclose", "__contains__",
})  # fmt: skip
_COMPARING = frozenset({"gt", "ge", "lt", "le", "eq", "ne", "isfinite", "isnan", "logical_not", "logical_and"})
_ELEMENTWISE = _COMPARING | {
    "add",
    "sub",
    "mul",
    "div",
    "true_divide",
    "pow",
    "neg",
    "abs",
    "sqrt",
    "exp",
    "round",
    "floor",
    "ceil",
    "clamp",
    "clip",
    "where",
    "minimum",
    "maximum",
    "lerp",
    "rsub",
    "__radd__",
    "__rsub__",
    "__rmul__",
    "__rtruediv__",
    "__rpow__",
    "__and__",
    "__or__",
    "__invert__",
    "bitwise_not",
    "sigmoid",
    "tanh",
}
