"""From an adapter to the tensors of a LoRA file, as the reader of this folder and ComfyUI name them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...common.errors import InvalidInputError
from ...dit.adapters import Adapter, Change, Delta, Full, Hadamard, Kronecker, LowRank
from .names import layer_of

_PREFIX = "diffusion_model."
_WHOLE_PREFIX = "base_model.model."  # PEFT's, under which alone a trained parameter itself is read


def lora_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """The tensors of a file that `read_lora` reads as this adapter, with its values of this moment.

    Scales are written as float32 alphas (scale * rank), or multiplied in where a form has no rank.

    Returns:
        name in the file -> contiguous tensor on the CPU, no memory shared.

    Raises:
        InvalidInputError: the adapter changes a parameter twice, for which files have no names.
    """
    tensors: dict[str, Tensor] = {}
    for parameter, changes in adapter.changes.items():
        if len(changes) != 1:
            raise InvalidInputError(
                f"{adapter.name} has {len(changes)} changes to {parameter}, but a LoRA file holds one for each "
                "parameter. Save them as files of their own."
            )
        for name, tensor in _named(parameter, changes[0]):
            tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
    return tensors


def _named(parameter: str, change: Change) -> Iterator[tuple[str, Tensor]]:
    layer = layer_of(parameter)
    is_bias = parameter == f"{layer}.bias"
    if change.replaces:
        assert isinstance(change.delta, Full)
        yield f"{_WHOLE_PREFIX}{layer}.{'bias' if is_bias else 'weight'}", change.delta.values
        return
    for name, tensor in _parts(change.delta, is_bias=is_bias):
        yield f"{_PREFIX}{layer}.{name}", tensor
    if change.magnitude is not None:
        yield f"{_PREFIX}{layer}.dora_scale", change.magnitude


def _parts(delta: Delta, *, is_bias: bool) -> Iterator[tuple[str, Tensor]]:
    match delta:
        case LowRank():
            yield "lora_down.weight", delta.down
            yield "lora_up.weight", delta.up
            yield _alpha(delta.scale, len(delta.down))
        case Hadamard():
            yield "hada_w1_a", delta.up_1
            yield "hada_w1_b", delta.down_1
            yield "hada_w2_a", delta.up_2
            yield "hada_w2_b", delta.down_2
            yield _alpha(delta.scale, len(delta.down_1))
        case Kronecker():
            yield from _kronecker_parts(delta)
        case Full():
            yield "diff_b" if is_bias else "diff", delta.scale * delta.values


def _kronecker_parts(delta: Kronecker) -> Iterator[tuple[str, Tensor]]:
    """LyCORIS divides alpha by the rank of the right product if both are one; two whole matrices have no alpha."""
    ranked = delta.left_down if delta.right_down is None else delta.right_down
    left = delta.left if ranked is not None else delta.scale * delta.left
    for side, matrix, down in (("lokr_w1", left, delta.left_down), ("lokr_w2", delta.right, delta.right_down)):
        yield (side, matrix) if down is None else (f"{side}_a", matrix)
        if down is not None:
            yield f"{side}_b", down
    if ranked is not None:
        yield _alpha(delta.scale, len(ranked))


def _alpha(scale: float, rank: int) -> tuple[str, Tensor]:
    return "alpha", torch.tensor(scale * rank, dtype=torch.float32)
