"""Putting adapters onto a transformer for one run, and taking them off again whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import nn

from .layers import AdaptedLinear, Dial, Dialled, ShiftedParameters
from .stack import AppliedAdapter, ParameterShapes
from .training import check_trainable, trainable_in

Shifts = dict[nn.Module, list[tuple[nn.Module, str, list[Dialled]]]]
"""A part of a model that is called as one -> parameters inside it: owner, name, changes."""


class AdapterRun:
    """The adapters of one run: knows which are active in which step, and what of them is learned."""

    def __init__(self, dials: Sequence[tuple[AppliedAdapter, Dial]]) -> None:
        self._dials = dials

    def parameters(self) -> list[nn.Parameter]:
        """What can be learned in this run: the trainable tensors of its adapters, for an optimiser.

        Each once; without those that strength zero or the choice of blocks leaves out. `trainable_parameters` gives
        the names.
        """
        return trainable_in([applied for applied, _ in self._dials])

    @property
    def strengths(self) -> tuple[float, ...]:
        """Of every adapter at this moment."""
        return tuple(dial.strength for _, dial in self._dials)

    def begin_step(self, index: int, steps: int) -> None:
        """Sets every adapter's strength for the step `index`, 0..steps - 1."""
        for applied, dial in self._dials:
            dial.strength = applied.strength_at(index / max(steps, 1))


@contextmanager
def adapted(model: nn.Module, stack: Sequence[AppliedAdapter]) -> Iterator[AdapterRun]:
    """Puts a stack of adapters onto a model for the time of the context.

    Matrices get a side path, or are merged as they are used; other parameters are replaced while the part of the model
    that holds them runs. No weight is written to, and after the context, also after an exception, the model is as it
    was. Tensors of an adapter go where the layer they belong to has its own.

    Tensors that are parameters (see `trainable`) are learned: they stay the caller's and where they are, and get their
    gradients, with blocks kept or run again (`Execution.checkpoints`). Frozen weights get none and pass it on, in
    whatever form they are stored. Go back inside the context, before the strength is another: outside of it, blocks
    that are run again have no adapters. What inference may do and training not says so: swapped blocks, attention
    kernels without a gradient.

    Args:
        model: a `WanDiT`, or any module with the parameters that the adapters name.

    Raises:
        InvalidInputError: an adapter is to be merged into a weight that is stored quantised, or learned beside weights
            that were made in `torch.inference_mode`.
    """
    parameters = ParameterShapes.of(model)
    for applied in stack:
        applied.check_mergeable(parameters)
    check_trainable(model, stack)
    dials = [(applied, Dial(applied.strength_at(0.0))) for applied in stack]
    linear: dict[str, dict[str, list[Dialled]]] = {}
    others: dict[str, list[Dialled]] = {}
    for applied, dial in dials:
        for name, changes in applied.changes().items():
            path, _, leaf = name.rpartition(".")
            is_linear = isinstance(model.get_submodule(path), nn.Linear)
            target = linear.setdefault(path, {}).setdefault(leaf, []) if is_linear else others.setdefault(name, [])
            target.extend(Dialled(change, dial, applied.merge) for change in changes)
    with ExitStack() as undo:
        for unit, parameters in _units(model, others).items():
            undo.callback(ShiftedParameters(unit, parameters, _resident_device(model)).remove)
        for path, leaves in linear.items():
            parent, name, layer = _place(model, path)
            weights, biases = leaves.get("weight", []), leaves.get("bias", [])
            wrapper = AdaptedLinear(cast(nn.Linear, layer), weights, biases, _compute_dtype(model))
            undo.callback(setattr, parent, name, layer)
            setattr(parent, name, wrapper)
        yield AdapterRun(dials)


def _units(model: nn.Module, others: dict[str, list[Dialled]]) -> Shifts:
    """Parameters that are no matrices, with their owners and names, by the part of the model that runs them."""
    units: Shifts = {}
    for name, changes in others.items():
        path, _, leaf = name.rpartition(".")
        units.setdefault(_unit(model, path), []).append((model.get_submodule(path), leaf, changes))
    return units


def _resident_device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device  # the patch embedding's, which is never swapped out


def _unit(model: nn.Module, path: str) -> nn.Module:
    """The outermost module on the way to `path` that is called as one: a block, the head, an embedding."""
    unit = model
    for name in filter(None, path.split(".")):
        unit = getattr(unit, name)
        if not isinstance(unit, nn.ModuleList | nn.ModuleDict):
            break
    return unit


def _place(model: nn.Module, path: str) -> tuple[nn.Module, str, nn.Module]:
    parent, _, name = path.rpartition(".")
    owner = model.get_submodule(parent)
    return owner, name, getattr(owner, name)


def _compute_dtype(model: nn.Module) -> torch.dtype:
    dtype = getattr(model, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
