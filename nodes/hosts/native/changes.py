"""ComfyUI's patches to weights (its LoRA nodes, hooks, merges) as changes beside the weights for one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import comfy.lora  # pyright: ignore[reportMissingImports]
import comfy.weight_adapter  # pyright: ignore[reportMissingImports]
import torch
from torch import Tensor

from ....common.errors import InvalidInputError
from ....dit.adapters import Adapter, AppliedAdapter, Change, LowRank, ParameterShapes, Rewritten

ROOT = "diffusion_model."
"""How the names of a transformer's weights begin in a native model."""

NativePatch = tuple[float, Any, float, Any, Any]
"""Strength, what is patched in, strength of the weight itself, which part of it, and a function of the difference."""

WeightFunction = Callable[[Tensor], Tensor]


def adapter_of(
    patches: Mapping[str, Sequence[NativePatch]],
    functions: Mapping[str, Sequence[WeightFunction]],
    shapes: ParameterShapes,
) -> AppliedAdapter | None:
    """Patches by the names of native weights, and what is done to weights after them; None without any.

    Plain LoRAs on matrices are computed beside them, as our own are, whatever form they are stored in. Of the rest
    ComfyUI's own arithmetic makes a new weight at every use.

    Raises:
        InvalidInputError: a patch for a weight that this model does not have.
    """
    names = dict.fromkeys((*patches, *functions))
    changes = {_official(name, shapes): tuple(_changes(name, patches, functions, shapes)) for name in names}
    changes = {name: made for name, made in changes.items() if made}
    return AppliedAdapter(Adapter("patches of ComfyUI's nodes", changes)) if changes else None


def _official(name: str, shapes: ParameterShapes) -> str:
    official = name.removeprefix(ROOT)
    if official not in shapes.shapes:
        raise InvalidInputError(
            f"A node patches the weight '{name}', which the model of Wan To Native Model does not have. Take that node "
            "out, or put it behind Load Diffusion Model."
        )
    return official


def _changes(
    name: str,
    patches: Mapping[str, Sequence[NativePatch]],
    functions: Mapping[str, Sequence[WeightFunction]],
    shapes: ParameterShapes,
) -> Iterator[Change]:
    given = [patch for patch in patches.get(name, ()) if patch[0] != 0.0 or patch[2] != 1.0]
    shape, after = shapes.shapes[name.removeprefix(ROOT)], functions.get(name, ())
    is_matrix = len(shape) == 2 and name.endswith(".weight")
    plain = [_low_rank(patch, shape) for patch in given] if is_matrix else [None]
    if not after and all(change is not None for change in plain):
        yield from (change for change in plain if change is not None)
    elif given or after:
        yield Change(Rewritten(partial(_rewritten, name, given, after)))


def _low_rank(patch: NativePatch, shape: Sequence[int]) -> Change | None:
    """A LoRA on a whole matrix and nothing else; None for all other patches."""
    strength, value, of_weight, part, function = patch
    if not isinstance(value, comfy.weight_adapter.LoRAAdapter) or of_weight != 1.0 or part or function:
        return None
    up, down, alpha, middle, magnitude, reshape = value.weights
    if middle is not None or magnitude is not None or reshape is not None or (up.ndim, down.ndim) != (2, 2):
        return None
    if (up.shape[0], down.shape[1]) != tuple(shape) or up.shape[1] != down.shape[0]:
        raise InvalidInputError(
            f"A LoRA changes a matrix of {up.shape[0]} x {down.shape[1]}, but the model's has {shape[0]} x {shape[1]}. "
            "It was made for another size of model: use one for this model."
        )
    scale = strength * (1.0 if alpha is None else float(alpha) / down.shape[0])
    return Change(LowRank(down, up, scale))


def _rewritten(
    name: str, patches: Sequence[NativePatch], functions: Sequence[WeightFunction], weight: Tensor
) -> Tensor:
    """What ComfyUI makes of a weight, float32."""
    shape = weight.shape
    weight = comfy.lora.calculate_weight(list(patches), weight, name, intermediate_dtype=torch.float32)
    for function in functions:
        weight = function(weight)
    if weight.shape != shape:
        raise InvalidInputError(
            f"A node changes the shape of the weight '{name}' from {list(shape)} to {list(weight.shape)}, which the "
            "model of Wan To Native Model cannot follow. Put it behind Load Diffusion Model."
        )
    return weight
