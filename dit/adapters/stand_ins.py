"""Values that stand in for parameters of a model for the time of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, cast

from torch import Tensor, nn


class StandIn(NamedTuple):
    """A value that a module computes with in the place of one of its parameters."""

    owner: nn.Module
    name: str
    value: Tensor


def put(owner: nn.Module, name: str, value: Tensor) -> None:
    """Makes a module compute with `value` in the place of a parameter, as `torch.func.functional_call` does.

    An attribute would have to be an `nn.Parameter`, through which no gradient reaches what it was made of.
    """
    parameters = cast(dict[str, Tensor], owner._parameters)
    parameters[name] = value


def again_with_stand_ins(
    module: nn.Module,
) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """For a part of a model that is run again by itself: a `context_fn` of `torch.utils.checkpoint.checkpoint`.

    What stands in for the parameters of `module` at this moment does so again then.
    """
    found = [
        StandIn(owner, name, value)
        for owner in module.modules()
        for name, value in owner._parameters.items()
        if value is not None and not isinstance(value, nn.Parameter)
    ]
    return lambda: (nullcontext(), _standing_in(found) if found else nullcontext())


@contextmanager
def _standing_in(values: list[StandIn]) -> Iterator[None]:
    before = [StandIn(owner, name, getattr(owner, name)) for owner, name, _ in values]
    try:
        for each in values:
            put(*each)
        yield
    finally:
        for each in before:
            put(*each)
