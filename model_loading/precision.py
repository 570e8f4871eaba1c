"""Which number format a model is loaded in, and the check that its weights are finite numbers."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..common.checking import choice_of
from ..common.errors import InvalidInputError
from ..weights.arithmetic import FP8_DTYPES, largest_number
from ..weights.casting import CASTINGS, Casting
from .files.checkpoint import TORCH_DTYPES
from .meter import Watch, runs, unwatched
from .spec import ModelSpec

Precision = Literal[
    "auto", "bf16", "fp16", "fp32", "fp8_e4m3fn", "fp8_e5m2", "fp8_scaled", "fp8_scaled_tensor", "fp8_compute"
]
"""Of the fp8 ones, which cast while loading, see `weights.casting.CASTINGS`."""

_PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_KEPT_AS: dict[Precision, Precision] = {"fp8_compute": "fp8_scaled"}
_BIG_BYTES = 1_000_000_000


class Choice(NamedTuple):
    """The dtype to load in, and the reason to tell where it is not what was asked for or what the file has."""

    dtype: torch.dtype
    reason: str | None


def precision_named(name: str) -> Precision:
    """The precision of that name.

    Raises:
        InvalidInputError: there is none.
    """
    return choice_of(name, _PRECISIONS, "precision")


def choose_dtype(spec: ModelSpec, precision: Precision, device: torch.device | str | None = None) -> Choice:
    """The dtype to compute in, and to load all weights in that are neither stored quantised nor cast to fp8.

    auto keeps the file's (of a quantised file that of its 16-bit tensors, or bf16), with two exceptions. Big float32
    files are loaded in bf16, in which the official code computes; so is what fp8 leaves of any float32 file. On a CPU
    fp16 matrices are about a thousand times slower than others, so fp16 is never used there, even when asked for:
    models under 1 GB become fp32, bigger ones bf16.

    Args:
        device: where the model will run; None for the machine's accelerator, if it has one.

    Raises:
        InvalidInputError: unknown precision, or one that this kind of model has not.
    """
    precision_named(precision)
    casting = choose_casting(spec, precision)
    stored = TORCH_DTYPES[spec.plain_dtype]
    dtype, reason = _DTYPES.get(precision, stored), None
    size_bytes = spec.parameters * dtype.itemsize
    if precision not in _DTYPES and dtype.itemsize > 2:
        is_network = spec.kind.is_network
        dtype = torch.bfloat16 if casting or (is_network and size_bytes > _BIG_BYTES) else torch.float32
        if dtype == torch.bfloat16 and casting is None:
            reason = "bf16 instead of the file's fp32: half the memory, and the precision the official code computes in"
    if dtype == torch.float16 and _runs_on_cpu(device):
        dtype = torch.float32 if size_bytes < _BIG_BYTES else torch.bfloat16
        reason = f"{_NAMES[dtype]}, because fp16 is about a thousand times slower on a CPU"
    return Choice(dtype, reason)


def choose_casting(spec: ModelSpec, precision: Precision) -> Casting | None:
    """How the matrices of a model are cast while it is loaded; None if they are not.

    Raises:
        InvalidInputError: fp8 for a model that is no network of big matrices.
    """
    casting = CASTINGS.get(precision)
    if casting is not None and not spec.kind.is_network:
        raise InvalidInputError(
            f"{precision} is for the diffusion model and the text encoder, not for a {spec.kind.title}. "
            f"Choose {', '.join(('auto', *_DTYPES))}."
        )
    return casting


def kept_as(precision: Precision) -> Precision:
    """The precision that keeps the same numbers in memory, and multiplies none of them in fp8."""
    return _KEPT_AS.get(precision, precision)


def _runs_on_cpu(device: torch.device | str | None) -> bool:
    if device is not None:
        return torch.device(device).type == "cpu"
    return not (torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available())


def all_finite(tensor: Tensor, watch: Watch = unwatched) -> bool:
    """Whether a tensor has neither NaN nor infinity. One pass without temporaries, about 15 GB/s on one core."""
    for run in runs(tensor):
        if not _is_finite(run):
            return False
        watch(run.nbytes)
    return True


def cast_if_finite(tensor: Tensor, dtype: torch.dtype, watch: Watch = unwatched) -> Tensor | None:
    """The tensor in another dtype, or itself if that is its own; None where it would have NaN or infinity."""
    if tensor.dtype == dtype or not tensor.is_contiguous():
        cast = tensor.to(dtype)
        return cast if all_finite(cast, watch) else None
    cast = torch.empty(tensor.shape, dtype=dtype, device=tensor.device)
    flat = cast.view(-1)
    done = 0
    for run in runs(tensor):
        part = flat[done : done + run.numel()]
        part.copy_(run.reshape(-1))
        if not _is_finite(part):
            return None
        done += run.numel()
        watch(run.nbytes)
    return cast


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.numel():
        return True
    if tensor.dtype in FP8_DTYPES:
        return math.isfinite(largest_number(tensor))
    return all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(tensor))  # NaN is passed on as both
