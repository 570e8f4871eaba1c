"""Adapters that are learned: made of plain ones, asked for their parameters, and made plain again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ...common.errors import InvalidInputError
from .deltas import Change, is_trainable, tensors_of, with_tensors
from .stack import Adapter, AppliedAdapter


def trainable(adapter: Adapter, device: torch.device | str | None = None) -> Adapter:
    """An adapter with the same values whose tensors are parameters of its own, float32, for an optimiser.

    The caller keeps it: `adapted` puts these very parameters onto the model, as often as it is entered, so that one may
    sample between two steps. A LoRA whose `up` is zero changes nothing and is learned all the same.

    Args:
        device: where they are kept, best where the model computes; None: where the tensors are.

    Raises:
        InvalidInputError: called in `torch.inference_mode`.
    """
    if torch.is_inference_mode_enabled():
        raise InvalidInputError(
            f"{adapter.name} cannot be trained in torch.inference_mode, where parameters are made without gradients "
            "for good. Leave it: with torch.inference_mode(False)."
        )
    return _mapped(adapter, lambda tensor: nn.Parameter(tensor.detach().to(device, torch.float32, copy=True)))


def frozen(adapter: Adapter) -> Adapter:
    """The adapter with its values of this moment, as tensors of its own that no optimiser changes."""
    return _mapped(adapter, lambda tensor: tensor.detach().clone())


def trainable_parameters(adapter: Adapter) -> dict[str, nn.Parameter]:
    """What is learned of an adapter, by name: "blocks.0.self_attn.q.weight.down" is the factor `down` of its change.

    A second change to the same parameter of the model is called "blocks.0.self_attn.q.weight.1.down".
    """
    found = {
        f"{name}.{number}.{factor}" if number else f"{name}.{factor}": tensor
        for name, changes in adapter.changes.items()
        for number, change in enumerate(changes)
        for factor, tensor in _tensors(change)
    }
    return {name: tensor for name, tensor in found.items() if is_trainable(tensor)}


def trainable_in(stack: Sequence[AppliedAdapter]) -> list[nn.Parameter]:
    """What is learned of a stack, each parameter once: not what strength zero or the choice of blocks leaves out."""
    reached = (change for applied in stack for changes in applied.changes().values() for change in changes)
    tensors = (tensor for change in reached for _, tensor in _tensors(change))
    return list(dict.fromkeys(tensor for tensor in tensors if is_trainable(tensor)))


def check_trainable(model: nn.Module, stack: Sequence[AppliedAdapter]) -> None:
    """Refuses to record gradients through weights that let none through.

    Raises:
        InvalidInputError: the model was made in `torch.inference_mode`.
    """
    if not torch.is_grad_enabled() or not trainable_in(stack):
        return
    stuck = next((name for name, value in model.named_parameters() if value.is_inference()), None)
    if stuck is not None:
        raise InvalidInputError(
            f"The model was loaded in torch.inference_mode ({stuck}), so no gradient comes through it. Load it again "
            "to train: with torch.inference_mode(False)."
        )


def _mapped(adapter: Adapter, function: Callable[[Tensor], Tensor]) -> Adapter:
    changes = {
        name: tuple(_mapped_change(change, function) for change in group) for name, group in adapter.changes.items()
    }
    return replace(adapter, changes=MappingProxyType(changes))


def _mapped_change(change: Change, function: Callable[[Tensor], Tensor]) -> Change:
    factors = {name: function(tensor) for name, tensor in tensors_of(change.delta).items()}
    magnitude = None if change.magnitude is None else function(change.magnitude)
    return replace(change, delta=with_tensors(change.delta, factors), magnitude=magnitude)


def _tensors(change: Change) -> Iterator[tuple[str, Tensor]]:
    yield from tensors_of(change.delta).items()
    if change.magnitude is not None:
        yield "magnitude", change.magnitude
