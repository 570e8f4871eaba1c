"""Stored codes to numbers: fp8 or int8 times a scale, in float32, rounded once; a bounded run of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

FP8_DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2)

_RUN_NUMBERS = 2**18  # 1 MB in float32, which stays in the cache of a core (measured: 64 rows of 13,824 are as fast)
_DEVICE_THREADS = 32  # a GPU must be filled; runs of 2**23 numbers take 64 MB beside the result


def row_runs(rows: int, columns: int, threads: int | None = None) -> Iterator[slice]:
    """Slices that cover `rows` rows, each with work for every thread of the CPU."""
    numbers = _RUN_NUMBERS * (threads or torch.get_num_threads())
    step = max(1, numbers // max(1, columns))
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def made_by_rows(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, numbers: Callable[[slice], Tensor]
) -> Tensor:
    """A matrix [rows, columns] in `dtype`, of the float32 numbers that are made of a run of its rows at a time."""
    out = torch.empty(shape, dtype=dtype, device=device)
    for run in row_runs(*shape, threads=None if device.type == "cpu" else _DEVICE_THREADS):
        out[run] = numbers(run)
    return out


def scaled_numbers(codes: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """codes * scale, multiplied in float32 and rounded once to `dtype`.

    Args:
        codes: [rows, columns], fp8 or int8, without NaN.
        scale: float32, one number [] or one per row [rows, 1]; None for one that is 1.
    """
    if codes.device.type != "cpu":
        return _scaled_at_once(codes, scale, dtype)
    out = torch.empty(codes.shape, dtype=dtype)
    for run in row_runs(*codes.shape):
        _fill_run(out[run], codes[run], scale if scale is None or scale.ndim == 0 else scale[run])
    return out


def _scaled_at_once(codes: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    out = codes.to(dtype)  # exact: fp8 and int8 fit into every floating-point format of 16 bits
    # Two dimensions make torch promote the product to float32; it is cast inside the kernel, without a copy.
    return out if scale is None else torch.mul(out, scale.reshape(-1, 1), out=out)


def _fill_run(out: Tensor, codes: Tensor, scale: Tensor | None) -> None:
    numbers = out if out.dtype == torch.float32 else torch.empty(codes.shape, dtype=torch.float32)
    factor = _copy_codes(numbers, codes)
    if scale is not None:
        numbers.mul_(scale * factor)
    elif factor != 1:
        numbers.mul_(factor)
    if numbers is not out:
        out.copy_(numbers)


def _copy_codes(out: Tensor, codes: Tensor) -> int:
    """Codes as float32, and the power of two that these are still to be multiplied by, exactly.

    torch converts fp8 one number at a time; by way of float16's bits it is four times faster.

    The five or four exponent bits and the mantissa of fp8 lie in float16 at the same place, one or none bit lower: e5m2
    is the upper half of a float16, e4m3 needs its sign moved and, for the smaller bias of its exponent, a factor 2**8.
    """
    if codes.dtype not in FP8_DTYPES:
        out.copy_(codes)
        return 1
    bits = codes.view(torch.int8).to(torch.int16)
    if codes.dtype == torch.float8_e5m2:
        out.copy_(bits.bitwise_left_shift_(8).view(torch.float16))
        return 1
    bits.bitwise_left_shift_(7).bitwise_and_(~0x4000)
    out.copy_(bits.view(torch.float16))
    return 256


def largest_number(codes: Tensor) -> float:
    """The largest magnitude in an fp8 tensor; NaN if there is a NaN. Two passes over the bytes, about 50 GB/s each.

    The bytes of fp8 numbers of one sign are in the order of their magnitudes, so the extremes of the bytes, read with
    and without sign, are the largest positive and the most negative number.
    """
    if not codes.numel():
        return 0.0
    positive, negative = codes.view(torch.int8).amax(), codes.view(torch.uint8).amax()
    code = max(int(positive), int(negative) - 0x80, 0)
    return torch.tensor([code], dtype=torch.uint8).view(codes.dtype).item()
