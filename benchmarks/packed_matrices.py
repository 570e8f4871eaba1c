"""Matrices in ComfyUI's formats of several numbers in a byte, and in tiles, for the table of formats.

Each function gives what a layer says of itself, its tensors by the ends of their names, and the numbers they stand for,
worked out in the words of the format: number by number, without tables.
"""

from __future__ import annotations

import torch
from torch import Tensor

Packed = tuple[dict[str, object], dict[str, Tensor], Tensor]

GROUP = 256  # of rotations
AWQ_GROUP = 64
# A code of W4A8 stands for a level of its table: here finer near zero.
LEVELS = torch.linspace(-1, 1, 16).sign() * torch.linspace(-1, 1, 16).abs() ** 1.25


def convrot_w4a4(weight: Tensor) -> Packed:
    """Rotated, a scale for each row, whole numbers from -7 to 7."""
    mixed = _rotated(weight)
    scale = mixed.abs().amax(1, keepdim=True) / 7
    numbers = (mixed / scale).round()
    ends = {"": _halves(numbers.to(torch.int16) & 15), "_scale": scale.flatten()}
    return {"format": "convrot_w4a4"}, ends, _rotated(numbers * scale)


def asym_w4a8(weight: Tensor) -> Packed:
    """Rotated, the nearest of 16 levels times an fp8 scale for 16 neighbours, rounded to int8, times that of a row."""
    codes, relative, channel = _on_a_grid(weight, LEVELS)
    numbers = (LEVELS[codes] * relative.float().unsqueeze(2)).round().clamp(-127, 127).flatten(1)
    ends = {
        "": _halves(codes.flatten(1)),
        "_s_rel": relative,
        "_s_channel": channel.flatten(),
        "_codebook": LEVELS.clone(),
    }
    return {"format": "asym_w4a8_int8", "group_size": 16}, ends, _rotated(numbers * channel)


def asym_w6a8(weight: Tensor) -> Packed:
    """As `asym_w4a8`, of whole numbers from -31 to 31 in place of levels; upper bits behind the lower ones."""
    levels = torch.arange(-31.0, 32.0)
    codes, relative, channel = _on_a_grid(weight, levels / 31)
    step = (relative.float() / 31).to(torch.float8_e4m3fn)
    numbers = (levels[codes] * step.float().unsqueeze(2)).round().clamp(-127, 127).flatten(1)
    stored = codes.flatten(1) + 1
    upper = sum((stored[:, place::4] >> 4) << 2 * place for place in range(4))
    packed = torch.cat([_halves(stored & 15), upper.to(torch.uint8).view(torch.int8)], 1)
    ends = {"": packed, "_s_rel": step, "_s_channel": channel.flatten()}
    return {"format": "asym_w4a8_int8", "params": {"group_size": 16}}, ends, _rotated(numbers * channel)


def awq_w4a16(weight: Tensor) -> Packed:
    """A bf16 scale and a bf16 middle for 64 neighbours, codes from 0 to 15 around 8."""
    groups = weight.unflatten(1, (-1, AWQ_GROUP))
    low, high = groups.amin(2), groups.amax(2)
    scale = ((high - low) / 15).bfloat16()
    middle = (low + 8 * scale.float()).bfloat16()
    numbers = ((groups - middle.float().unsqueeze(2)) / scale.float().unsqueeze(2)).round().clamp(-8, 7)
    true = (numbers * scale.float().unsqueeze(2) + middle.float().unsqueeze(2)).flatten(1)
    ends = {"": _halves((numbers + 8).to(torch.int16).flatten(1)), "_scale": scale.T, "_zeros": middle.T}
    return {"format": "awq_w4a16", "group_size": AWQ_GROUP}, ends, true


def nvfp4(weight: Tensor) -> Packed:
    """The nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives times an fp8 scale for 16 neighbours times one."""
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    one = weight.abs().max() / (6 * 448)
    blocks = weight.unflatten(1, (-1, 16))
    scale = (blocks.abs().amax(2) / 6 / one).to(torch.float8_e4m3fn)
    sizes = (blocks / (scale.float() * one).unsqueeze(2)).abs()
    codes = (sizes.unsqueeze(3) - levels).abs().argmin(3)
    numbers = levels[codes] * blocks.sign()
    bits = (codes | (blocks < 0).long() << 3).flatten(1)
    true = (numbers * (scale.float() * one).unsqueeze(2)).flatten(1)
    upper_first = bits.unflatten(1, (-1, 2)).flip(2).flatten(1)
    ends = {"": _halves(upper_first).view(torch.uint8), "_scale": in_tiles(scale), "_scale_2": one}
    return {"format": "nvfp4"}, ends, true


def nvfp4_for_scaled_inputs(weight: Tensor) -> Packed:
    """As `nvfp4`; what goes into the layer is multiplied by a number for each column before."""
    inputs = torch.linspace(0.5, 2, weight.shape[1]).bfloat16()
    said, ends, true = nvfp4(weight / inputs.float())
    return said, {**ends, ".pre_quant_scale": inputs}, true * inputs.float()


def mxfp8(weight: Tensor) -> Packed:
    """fp8 times a power of two for 32 neighbours."""
    blocks = weight.unflatten(1, (-1, 32))
    power = (blocks.abs().amax(2) / 448).log2().ceil()
    codes = (blocks / torch.exp2(power).unsqueeze(2)).to(torch.float8_e4m3fn)
    true = (codes.float() * torch.exp2(power).unsqueeze(2)).flatten(1)
    return {"format": "mxfp8"}, {"": codes.flatten(1), "_scale": in_tiles((power + 127).to(torch.uint8))}, true


def in_tiles(scales: Tensor) -> Tensor:
    """Scales [rows, columns] in tiles of 128 x 4, filled up with zeros: row r of a tile beside rows r + 32, 64, 96."""
    rows, columns = (-(-size // side) * side for size, side in zip(scales.shape, (128, 4)))
    tiles = torch.zeros(rows * columns, dtype=torch.uint8)
    row, column = torch.meshgrid(*(torch.arange(size) for size in scales.shape), indexing="ij")
    place = (row // 128 * (columns // 4) + column // 4) * 512 + row % 32 * 16 + row % 128 // 32 * 4 + column % 4
    tiles[place] = scales.view(torch.uint8)
    return tiles.view(rows, columns).view(scales.dtype)


def rotation() -> Tensor:
    """The matrix of ConvRot for groups of `GROUP`: products of [[1, 1, 1, -1], ...] / 2 (arXiv 2512.03673)."""
    four = torch.tensor([[1.0, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]) / 2
    matrix = four
    while len(matrix) < GROUP:
        matrix = torch.kron(matrix, four)
    return matrix


def _rotated(weight: Tensor) -> Tensor:
    return (weight.unflatten(1, (-1, GROUP)) @ rotation()).flatten(1)


def _on_a_grid(weight: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes [rows, groups, 16] of the nearest levels, fp8 scales [rows, groups], scales of rows [rows, 1]."""
    groups = _rotated(weight).unflatten(1, (-1, 16))
    size = groups.abs().amax(2)
    channel = size.amax(1, keepdim=True) / 127
    relative = (size / channel).to(torch.float8_e4m3fn)
    target = groups / (relative.float() * channel).unsqueeze(2)
    return (target.unsqueeze(3) - levels).abs().argmin(3), relative, channel


def _halves(codes: Tensor) -> Tensor:
    """Codes of four bits, two in a byte, the first in the lower half."""
    return (codes[:, 0::2] | codes[:, 1::2] << 4).to(torch.uint8).view(torch.int8)
