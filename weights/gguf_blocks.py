"""The arithmetic of ggml's blocks: packed bytes to float32 numbers, on any device.

Every function takes `blocks`, uint8 [n, bytes of a block], and fills `out`, float32 [n, values of a block]. Small
numbers are unpacked eight bytes at a time, as 64-bit words: shifts and masks then touch an eighth of the elements, and
masks also clear what an arithmetic shift drags in from the sign or from the neighbouring byte. Products and differences
are rounded one by one, as ggml does it, so that results equal its own bit for bit.

Source: ggml-org/ggml, src/ggml-common.h (layout of the blocks), src/ggml-quants.c (dequantize_row_*).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor

Unpack = Callable[[Tensor, Tensor], None]

# One byte of the mask in each of the eight bytes of a word.
_EACH_BYTE = 0x0101010101010101
_LOW_1, _LOW_2, _LOW_4 = _EACH_BYTE, _EACH_BYTE * 0x03, _EACH_BYTE * 0x0F
_BIT_2, _BIT_4, _BITS_4_5 = _EACH_BYTE * 0x04, _EACH_BYTE * 0x10, _EACH_BYTE * 0x30
# The sixteen steps of IQ4: finer around zero.
_IQ4_VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def _q4_0(blocks: Tensor, out: Tensor) -> None:
    scale, packed = blocks.split((2, 16), 1)
    _put(out, _nibbles(_words(packed)[:, None]))
    out.sub_(8).mul_(_halves(scale))


def _q4_1(blocks: Tensor, out: Tensor) -> None:
    scale, least, packed = blocks.split((2, 2, 16), 1)
    _put(out, _nibbles(_words(packed)[:, None]))
    out.mul_(_halves(scale)).add_(_halves(least))


def _q5_0(blocks: Tensor, out: Tensor) -> None:
    scale, fifth_bits, packed = blocks.split((2, 4, 16), 1)
    # A bit that is not set stands for -16, which makes a signed byte of the four bits below it.
    words = _nibbles_below(_words(packed), _spread_bits(fifth_bits, is_set=0x00, is_not=0xF0))
    out.copy_(words.view(torch.int8).view(out.shape)).mul_(_halves(scale))


def _q5_1(blocks: Tensor, out: Tensor) -> None:
    scale, least, fifth_bits, packed = blocks.split((2, 2, 4, 16), 1)
    _put(out, _nibbles_below(_words(packed), _spread_bits(fifth_bits, is_set=0x10, is_not=0x00)))
    out.mul_(_halves(scale)).add_(_halves(least))


def _q8_0(blocks: Tensor, out: Tensor) -> None:
    scale, values = blocks.split((2, 32), 1)
    out.copy_(values.view(torch.int8))
    out.mul_(_halves(scale))


def _q2_k(blocks: Tensor, out: Tensor) -> None:
    scales, packed, scale, least = blocks.split((16, 64, 2, 2), 1)
    words = _words(packed).view(-1, 2, 4)
    _put(out, torch.stack([words >> shift & _LOW_2 for shift in (0, 2, 4, 6)], 2))
    steps = _halves(scale) * (scales & 0xF)
    offsets = _halves(least) * (scales >> 4)
    _scale_groups(out, steps, offsets)


def _q3_k(blocks: Tensor, out: Tensor) -> None:
    third_bits, packed, scales, scale = blocks.split((32, 64, 12, 2), 1)
    words, bits = _words(packed).view(-1, 2, 4), _words(third_bits).view(-1, 1, 4)
    low = torch.stack([words >> shift & _LOW_2 for shift in (0, 2, 4, 6)], 2)
    # A set bit stands for +4 on top of the -4 that all values share.
    high = torch.cat([_shift_left(bits, 2 - bit) & _BIT_2 for bit in range(8)], 1)
    _put(out, low.view(-1, 8, 4) | high)
    out.sub_(4)
    # 16 scales of 6 bits: the low 4 bits of all in eight bytes, the high 2 bits of all in four.
    low_scales, high_scales = _words(scales[:, :8]), _words(scales[:, 8:], torch.int32)
    low_scales = torch.cat((low_scales & _LOW_4, low_scales >> 4 & _LOW_4), 1)
    high_scales = torch.cat([_shift_left(high_scales, 4 - shift) & 0x30303030 for shift in (0, 2, 4, 6)], 1)
    _scale_groups(out, _halves(scale) * ((low_scales | high_scales.view(torch.int64)).view(torch.int8) - 32))


def _q4_k(blocks: Tensor, out: Tensor) -> None:
    scale, least, scales, packed = blocks.split((2, 2, 12, 128), 1)
    _put(out, _nibbles(_words(packed).view(-1, 4, 4)))
    _scale_groups(out, *_steps_and_offsets(scale, least, scales))


def _q5_k(blocks: Tensor, out: Tensor) -> None:
    scale, least, scales, fifth_bits, packed = blocks.split((2, 2, 12, 32, 128), 1)
    bits = _words(fifth_bits).view(-1, 1, 4)
    high = torch.cat([_shift_left(bits, 4 - bit) & _BIT_4 for bit in range(8)], 1)
    _put(out, _nibbles(_words(packed).view(-1, 4, 4)).view(-1, 8, 4) | high)
    _scale_groups(out, *_steps_and_offsets(scale, least, scales))


def _q6_k(blocks: Tensor, out: Tensor) -> None:
    packed, high_bits, scales, scale = blocks.split((128, 64, 16, 2), 1)
    bits = _words(high_bits).view(-1, 2, 4)
    high = torch.stack([_shift_left(bits, 4 - shift) & _BITS_4_5 for shift in (0, 2, 4, 6)], 2)
    _put(out, _nibbles(_words(packed).view(-1, 2, 8)).view(-1, 2, 4, 4) | high)
    out.sub_(32)
    _scale_groups(out, _halves(scale) * scales.view(torch.int8))


def _iq4_nl(blocks: Tensor, out: Tensor) -> None:
    scale, packed = blocks.split((2, 16), 1)
    _put_iq4_values(out, _nibbles(_words(packed)[:, None]))
    out.mul_(_halves(scale))


def _iq4_xs(blocks: Tensor, out: Tensor) -> None:
    scale, high_scales, low_scales, packed = blocks.split((2, 2, 4, 128), 1)
    _put_iq4_values(out, _nibbles(_words(packed).view(-1, 8, 2)))
    # 8 scales of 6 bits: two to a byte of `low_scales`, four to a byte of `high_scales`.
    low = torch.stack((low_scales & 0xF, low_scales >> 4), 2).view(-1, 8)
    high = torch.stack([high_scales >> shift & 0x3 for shift in (0, 2, 4, 6)], 2).view(-1, 8)
    _scale_groups(out, _halves(scale) * ((low | high << 4).view(torch.int8) - 32))


def _words(packed: Tensor, dtype: torch.dtype = torch.int64) -> Tensor:
    """Bytes [n, k] as words of eight (or four) [n, k / 8], in memory of their own so that they are aligned."""
    return packed.clone(memory_format=torch.contiguous_format).view(dtype)


def _nibbles(words: Tensor) -> Tensor:
    """Words [n, groups, w] -> [n, groups, 2, w]: per group the low four bits of all bytes, then the high four."""
    return _in_turn(words & _LOW_4, (words >> 4).bitwise_and_(_LOW_4))


def _nibbles_below(words: Tensor, above: tuple[Tensor, Tensor]) -> Tensor:
    """Words [n, 2] -> [n, 2, 2]: the low four bits of all bytes, then the high four, each below the bits of `above`."""
    low, high = (words & _LOW_4).bitwise_or_(above[0]), (words >> 4).bitwise_and_(_LOW_4).bitwise_or_(above[1])
    return _in_turn(low[:, None], high[:, None])


def _in_turn(first: Tensor, second: Tensor) -> Tensor:
    """Words [n, groups, w] of both, w even -> [n, groups, 2, w]."""
    if first.device.type != "cpu":
        return torch.stack((first, second), 2)
    # torch stacks short runs number by number: in numbers of 16 bytes 7 times faster for w = 2, by a third for w = 4.
    return torch.stack((first.view(torch.complex128), second.view(torch.complex128)), 2).view(torch.int64)


def _shift_left(words: Tensor, places: int) -> Tensor:
    """Words shifted to the left, or to the right for negative `places`."""
    return words << places if places >= 0 else words >> -places


def _spread_bits(packed: Tensor, *, is_set: int, is_not: int) -> tuple[Tensor, Tensor]:
    """Bytes [n, 4] -> words [n, 2] of the first and of the last sixteen bits: for each bit a byte, one of the two."""
    first, second = (half.int().bitwise_and_(0xFFFF) for half in packed.view(torch.int16).unbind(1))
    table = _bytes_of_bits(is_set, is_not, packed.device)
    return _rows(table, first), _rows(table, second)


@lru_cache(maxsize=8)
def _bytes_of_bits(is_set: int, is_not: int, device: torch.device) -> Tensor:
    """Words [65536, 2]: for the bits of each number the bytes of `_spread_bits`. Takes 1 MB."""
    numbers = torch.arange(1 << 16, device=device)
    bits = torch.stack([numbers >> bit & 1 for bit in range(16)], 1)
    return (bits * (is_set - is_not) + is_not).to(torch.uint8).view(torch.int64)


def _rows(table: Tensor, numbers: Tensor) -> Tensor:
    """Words [rows, 2] -> [n, 2]."""
    if table.device.type != "cpu":
        return table[numbers]
    # As one number of 16 bytes a row is found three times faster.
    return torch.index_select(table.view(torch.complex128).flatten(), 0, numbers).view(torch.int64).view(-1, 2)


def _put(out: Tensor, words: Tensor) -> None:
    """Writes the bytes of words in the order of `out` into it, as numbers."""
    out.copy_(words.view(torch.uint8).view(out.shape))


def _put_iq4_values(out: Tensor, words: Tensor) -> None:
    table = torch.tensor(_IQ4_VALUES, dtype=torch.float32, device=out.device)
    torch.index_select(table, 0, words.view(torch.uint8).flatten().int(), out=out.view(-1))


def _halves(packed: Tensor) -> Tensor:
    """A float16 number per block: bytes [n, 2] -> float32 [n, 1]."""
    return packed.view(torch.float16).float()


def _scale_groups(out: Tensor, steps: Tensor, offsets: Tensor | None = None) -> None:
    """Multiplies each of the groups of a block by its step, and subtracts its offset; both float32 [n, groups]."""
    groups = out.view(*steps.shape, -1)
    groups.mul_(steps[..., None])
    if offsets is not None:
        groups.sub_(offsets[..., None])


def _steps_and_offsets(scale: Tensor, least: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """The 8 steps and 8 offsets of Q4_K and Q5_K, each of 6 bits.

    Of 12 bytes the first four hold steps 0-3 in their low 6 bits, the next four offsets 0-3; their high 2 bits and the
    nibbles of the last four bytes make steps and offsets 4-7.
    """
    first, second, third = _words(scales, torch.int32).unbind(1)
    steps = torch.stack((first & 0x3F3F3F3F, third & 0x0F0F0F0F | first >> 2 & 0x30303030), 1)
    offsets = torch.stack((second & 0x3F3F3F3F, third >> 4 & 0x0F0F0F0F | second >> 2 & 0x30303030), 1)
    return _halves(scale) * steps.view(torch.uint8), _halves(least) * offsets.view(torch.uint8)


UNPACK: Mapping[str, Unpack] = MappingProxyType({
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0, "Q2_K": _q2_k, "Q3_K": _q3_k,
    "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k, "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs,
})  # fmt: skip

# Where a block has its float16 scales: (first byte, how many bytes).
SCALES: Mapping[str, tuple[int, int]] = MappingProxyType({
    "Q4_0": (0, 2), "Q4_1": (0, 4), "Q5_0": (0, 2), "Q5_1": (0, 4), "Q8_0": (0, 2), "Q2_K": (80, 4), "Q3_K": (108, 2),
    "Q4_K": (0, 4), "Q5_K": (0, 4), "Q6_K": (208, 2), "IQ4_NL": (0, 2), "IQ4_XS": (0, 2),
})  # fmt: skip
