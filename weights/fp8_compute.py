"""Multiplying in fp8: a scale per token, measured for every input, and the stored scale of each row of the weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from ..common.log import logger
from ..common.memory.out_of_memory import is_out_of_memory

_MULTIPLE = 16  # of both sides of a matrix, for the fp8 units
_RUN_TOKENS = 4096  # quantised at a time: 84 MB of float32 at the width of the 14B models
_LARGEST = torch.finfo(torch.float8_e4m3fn).max
_LEAST_SCALE = 1e-12  # a token of zeros
# Rows of the two examples on which a kernel is tried. There are different ones for small and for large products, and
# on some devices only those for small ones work (pytorch/ao issue 2904).
_TRIED_ROWS = (32, 2048)
# Products of at most 448 are summed over thousands of columns, which overflows float16.
_OUTPUT = torch.bfloat16

Multiply = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def fp8_linear(x: Tensor, parts: Mapping[str, Tensor], bias: Tensor | None) -> Tensor | None:
    """x @ weight.T + bias with both factors in fp8, or None where that cannot be done.

    It can for 16-bit x, e4m3fn weights with sides that are multiples of 16, outside autograd, on devices that
    `find_multiply` finds able. The result has the dtype of x and is rounded to bf16 on the way.

    Args:
        x: [..., columns].
        parts: "weight" [rows, columns], and "scale" [] or [rows, 1] or no scale.
        bias: [rows].
    """
    weight = parts["weight"]
    fits = weight.dtype == torch.float8_e4m3fn and not any(side % _MULTIPLE for side in weight.shape)
    if not fits or x.dtype not in (torch.bfloat16, torch.float16) or (x.requires_grad and torch.is_grad_enabled()):
        return None
    multiply = find_multiply(x.device)
    if multiply is None or not x.numel():
        return None
    tokens, token_scale = quantize_tokens(x.flatten(0, -2))
    scale = parts.get("scale", torch.ones((), dtype=torch.float32, device=weight.device))
    out = multiply(tokens, weight, token_scale, scale.reshape(-1, 1).expand(len(weight), 1))
    if bias is not None:
        out.add_(bias)
    return out.to(x.dtype).view(*x.shape[:-1], -1)


def quantize_tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """[tokens, columns] -> the same in fp8 (e4m3fn), and float32 scales [tokens, 1] to multiply it by.

    Every token uses the whole range of fp8; NaN and infinity come out as NaN.
    """
    largest = torch.linalg.vector_norm(x, float("inf"), dim=-1, keepdim=True)
    scale = largest.float().div_(_LARGEST).clamp_(min=_LEAST_SCALE)
    codes = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
    for run in range(0, len(x), _RUN_TOKENS):
        rows = slice(run, run + _RUN_TOKENS)
        codes[rows] = (x[rows] / scale[rows]).to(codes.dtype)
    return codes, scale


@lru_cache(maxsize=16)
def find_multiply(device: torch.device) -> Multiply | None:
    """How `device` multiplies fp8 matrices; None, with one line in the log, if it cannot. Tried once per device.

    Needs compute capability 8.9 (Ada) or newer on NVIDIA; scales by row inside the kernel are newer than those by
    tensor. CPUs can too, slowly, which makes the path testable.
    """
    for multiply in (_by_row, _by_tensor):
        if _works(multiply, device):
            return multiply
    logger.info("%s cannot multiply in fp8: fp8 weights are only stored, and widened for every use.", device)
    return None


def _by_row(tokens: Tensor, weight: Tensor, token_scale: Tensor, scale: Tensor) -> Tensor:
    return torch._scaled_mm(  # pyright: ignore[reportPrivateImportUsage]
        tokens, weight.t(), scale_a=token_scale, scale_b=scale.t().contiguous(), out_dtype=_OUTPUT
    )


def _by_tensor(tokens: Tensor, weight: Tensor, token_scale: Tensor, scale: Tensor) -> Tensor:
    """The kernel's own scales are one number each, here 1; the true ones are multiplied to the result."""
    one = torch.ones((), dtype=torch.float32, device=tokens.device)
    out = torch._scaled_mm(  # pyright: ignore[reportPrivateImportUsage]
        tokens, weight.t(), scale_a=one, scale_b=one, out_dtype=_OUTPUT
    )
    return out.mul_(token_scale).mul_(scale.t())


def _works(multiply: Multiply, device: torch.device) -> bool:
    """Whether the results on examples are right; devices that cannot do it raise various errors."""
    return all(_is_right(multiply, device, rows) for rows in _TRIED_ROWS)


def _is_right(multiply: Multiply, device: torch.device, rows: int) -> bool:
    """Whether the product of two matrices with so many rows is right; a lack of memory is no answer."""
    numbers = torch.linspace(-2, 2, rows * 64, dtype=torch.float32).view(rows, 64)
    scales = torch.linspace(0.5, 2, rows, dtype=torch.float32).view(rows, 1)
    codes = numbers.to(torch.float8_e4m3fn)
    expected = (codes.float() * scales) @ (codes.float() * scales).t()
    try:
        given = [tensor.to(device) for tensor in (codes, codes, scales, scales)]
        out = multiply(*given).float().cpu()
    except (RuntimeError, NotImplementedError, ValueError, AttributeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        logger.debug("%s on %s: %s", multiply.__name__, device, error)
        return False
    return bool(((out - expected).abs() <= 0.02 * expected.abs().max()).all())
