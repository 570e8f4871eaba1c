"""Records: frozen dataclasses that are compiled when the first one is made.

`dataclasses.dataclass` compiles six functions for every class, and the 266 of the pack were 44 % of the time that a
ComfyUI waits for it. A record shares five of them with all others, and the sixth, which fills a new one, waits until
it is called. All else is a dataclass's: `fields`, `replace`, `asdict`, pickling, matching.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:  # typing has it from Python 3.11 on
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**options):
        """Nothing: it is for those who check types."""
        return lambda function: function


Class = TypeVar("Class", bound=type)


@overload
def record(cls: Class, /) -> Class: ...
@overload
def record(*, eq: bool = True, slots: bool = True) -> Callable[[Class], Class]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type | None = None, /, *, eq: bool = True, slots: bool = True) -> Any:
    """A frozen dataclass, with slots unless slots=False; with eq=False compared and hashed by identity."""
    return (lambda each: _made(each, eq, slots)) if cls is None else _made(cls, eq, slots)


def _made(cls: type, eq: bool, slots: bool) -> type:
    """`cls` as a record; what it defines by itself stays."""
    own = dict(vars(cls))
    made: Any = dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    made.__compared__ = tuple([each.name for each in fields(made) if each.compare])
    shared = _SHARED | (_COMPARING if eq else {})
    for name, method in shared.items():
        if own.get(name) is None:
            setattr(made, name, method)
    made.__init__ = _first_filling(made)
    return made


def _first_filling(made: Any) -> Callable[..., None]:
    def fill(self: Any, *values: Any, **named: Any) -> None:
        made.__init__ = _filling(made)
        made.__init__(self, *values, **named)

    return fill


def _filling(made: Any) -> Callable[..., None]:
    """The `__init__` that a frozen dataclass with the fields of `made` has."""
    names = {each.name: each for each in fields(made)}
    hook = {name: getattr(made, name) for name in ("__post_init__",) if name in dir(made)}
    types = {name: each.type for name, each in names.items()}
    described = {"__annotations__": types, "__module__": made.__module__, "__qualname__": made.__qualname__}
    like = type(made.__name__, (), described | names | hook)
    return dataclass(frozen=True, repr=False, eq=False, slots=True)(like).__init__


def _values(value: Any) -> tuple[object, ...]:
    """What tells a record from another of its class."""
    return tuple([getattr(value, name) for name in value.__compared__])


def _is_equal(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


@recursive_repr()
def _text(self: Any) -> str:
    shown = ", ".join([f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr])
    return f"{type(self).__qualname__}({shown})"


def _refuse_setting(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[object]:
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: Any, state: list[object]) -> None:
    for each, value in zip(fields(self), state):
        object.__setattr__(self, each.name, value)


_SHARED: dict[str, Callable[..., Any]] = {
    "__repr__": _text, "__setattr__": _refuse_setting, "__delattr__": _refuse_deleting,
    "__getstate__": _state, "__setstate__": _set_state,
}  # fmt: skip
_COMPARING: dict[str, Callable[..., Any]] = {"__eq__": _is_equal, "__hash__": _hash}
