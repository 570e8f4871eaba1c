"""Casting matrices to fp8 while a model loads, a run of rows at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from ..common.records import record
from .arithmetic import row_runs
from .fp8 import FP8, Fp8Codec
from .stored import StoredWeight

# The matrices inside the blocks of the transformer and of the text encoder: 97.5 % of the weights of a 14B model;
# and those that stand between the blocks of S2V.
_CAST = re.compile(
    r"(.+\.)?(\w+_)?blocks\.\d+\."
    r"((self_attn|cross_attn|attn)\.(q|k|v|o|k_img|v_img)|ffn\.(0|2|gate\.0|fc1|fc2)"
    r"|audio_cross_attn\.(q_linear|kv_linear|proj)"
    r"|audio_cross_attn_wrapper\.audio_cross_attn\.[qkvo])\.weight"
    r"|music_injector\.injector\.\d+\.[qkvo]\.weight"
    r"|audio_injector\.(injector\.\d+\.[qkvo]|injector_adain_layers\.\d+\.linear)\.weight"
)
_LEAST_SCALE = 1e-12  # of a row of zeros
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""What has the bits of a floating-point number of so many bytes."""


@record
class Casting:
    """What matrices become.

    Only those inside the blocks are cast. Patch, text, time and image embeddings, the time projection, modulation and
    head stay in 16 bit: they are 2.5 % of the weights, the signal of every token passes through each of them, and none
    of them has a later layer or a residual stream that would average an error away. Norms are vectors and stay too.

    Attributes:
        dtype: of the codes.
        scale: "none" (numbers as they are; small ones lose precision), one scale per "tensor" or per "row" (output
            channel), which makes use of the whole range of fp8 in every row and is closest to the original.
        multiplies: whether matrices are to be multiplied in fp8, too.
    """

    dtype: torch.dtype
    scale: Literal["none", "tensor", "row"]
    multiplies: bool = False


CASTINGS: Mapping[str, Casting] = MappingProxyType({
    "fp8_e4m3fn": Casting(torch.float8_e4m3fn, "none"),
    "fp8_e5m2": Casting(torch.float8_e5m2, "none"),
    "fp8_scaled": Casting(torch.float8_e4m3fn, "row"),
    "fp8_scaled_tensor": Casting(torch.float8_e4m3fn, "tensor"),
    "fp8_compute": Casting(torch.float8_e4m3fn, "row", multiplies=True),
})  # fmt: skip
"""Precision -> what it does."""


def is_cast(key: str) -> bool:
    """Whether the weight of this official name is one of those that are cast; see `Casting`."""
    return _CAST.fullmatch(key) is not None


def cast_matrix(weight: Tensor | StoredWeight, casting: Casting) -> StoredWeight:
    """A matrix [rows, columns] in fp8. One that is already stored in this fp8 stays as it is, with its own scale.

    Takes the memory of the result and a few megabytes; a matrix stored otherwise is dequantised whole before. Values
    beyond the range of fp8, which only "none" can meet, become its largest number; NaN and infinity come out as scales
    or codes that are not finite.
    """
    if isinstance(weight, StoredWeight):
        if isinstance(weight.codec, Fp8Codec) and weight.parts["weight"].dtype == casting.dtype:
            return weight
        weight = weight.dense()
    if casting.scale == "none":
        return StoredWeight(FP8, {"weight": _clamped(weight, casting.dtype)}, tuple(weight.shape))
    codes, scale = _scaled(weight, casting)
    return StoredWeight(FP8, {"weight": codes, "scale": scale}, tuple(weight.shape))


def _clamped(weight: Tensor, dtype: torch.dtype) -> Tensor:
    largest = torch.finfo(dtype).max
    low, high = torch.aminmax(weight)
    if not bool(torch.maximum(high, -low) > largest):  # also where one of them is NaN, which stays one
        return weight.to(dtype)
    codes = torch.empty(weight.shape, dtype=dtype)
    for run in row_runs(*weight.shape):
        codes[run] = weight[run].float().clamp(-largest, largest)
    return codes


def _scaled(weight: Tensor, casting: Casting) -> tuple[Tensor, Tensor]:
    """Codes and scales, [rows, 1] or []; each run of rows is read from memory once and then again from the cache."""
    largest = torch.finfo(casting.dtype).max
    codes = torch.empty(weight.shape, dtype=casting.dtype)
    scales = torch.empty(weight.shape[0], 1, dtype=torch.float32)
    one = None
    if casting.scale == "tensor":
        low, high = torch.aminmax(weight)
        one = _scale_of(torch.maximum(high.float(), -low.float()), largest)
    runs = tuple(row_runs(*weight.shape))
    # Allocated anew in every run, these would leave holes between the codes: 0.2 GB in a model of 1.4 (glibc).
    numbers = torch.empty(runs[0].stop if runs else 0, *weight.shape[1:])
    bits = torch.empty(numbers.shape, dtype=_BITS[weight.element_size()])
    for run in runs:
        rows, count = weight[run], run.stop - run.start
        scale = _scale_of(_largest_magnitudes(rows, bits[:count]), largest) if one is None else one
        scales[run] = scale
        codes[run] = numbers[:count].copy_(rows).mul_(scale.reciprocal())
    return codes, scales if one is None else one


def _largest_magnitudes(rows: Tensor, bits: Tensor) -> Tensor:
    """The largest magnitude of each row, [rows, 1], float32; infinity and NaN stay. `bits` is room for a result.

    Without their sign the bits of floating-point numbers are in the order of the numbers, with infinity and then NaN
    behind them. Largest and smallest numbers take three times as long (measured, CPU, bf16), and aminmax with a
    dimension ten times as long as those.
    """
    torch.bitwise_and(rows.view(bits.dtype), torch.iinfo(bits.dtype).max, out=bits)
    return bits.amax(1, keepdim=True).view(rows.dtype).float()


def _scale_of(magnitude: Tensor, largest: float) -> Tensor:
    return magnitude.div(largest).clamp_(min=_LEAST_SCALE)
