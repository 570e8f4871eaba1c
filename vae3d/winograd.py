"""Convolutions over frames in fewer multiplications, for a CPU: Winograd's minimal filtering along all three sides.

A block of pixels of the result comes from a block that is two larger along each side. Both these and the 3 x 3 x 3
kernel are changed by small matrices, so that they only have to be multiplied place by place, and what is found is
changed back. Of 1728 multiplications for four frames of 4 x 4 pixels 216 are left, of 864 for two frames 144. As they
are in float32, that pays for 16 bits too: a CPU without a matrix unit is only twice as fast with those.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn

from ..common.records import record

_TAPS = 3
# With fewer channels the small matrices take longer than what they spare; with fewer tiles changing the kernel does.
_FEWEST_CHANNELS = 64
_FEWEST_TILES = 128
# What a run of tile rows makes at once stays in the cache.
_ELEMENTS_AT_ONCE = 2**18


@record
class _Side:
    """Minimal filtering along one side, for `count` results.

    Attributes:
        of_given: [count + 2, count + 2], for what is convolved.
        of_taps: [count + 2, 3], for the kernel.
        of_products: [count, count + 2], for what is multiplied.
    """

    count: int
    of_given: list[list[float]]
    of_taps: list[list[float]]
    of_products: list[list[float]]


@record(eq=False)
class Filtering:
    """A way to convolve some frames at once: along the frames, and along both sides of a tile."""

    frames: _Side
    tile: _Side

    def kernel(self, weight: Tensor) -> Tensor:
        """[D, C, 3, 3, 3] -> [places in time, places across, places down, C, D], in float32."""
        taps, frame_taps = torch.tensor(self.tile.of_taps), torch.tensor(self.frames.of_taps)
        changed = torch.kron(frame_taps, torch.kron(taps, taps)) @ rearrange(
            weight.float(), "D C k n m -> (k m n) (C D)"
        )
        return changed.view(len(frame_taps), len(taps), len(taps), weight.shape[1], weight.shape[0])

    def convolve(self, frames: Sequence[Tensor], kernel: Tensor, bias: Tensor | None) -> Tensor:
        """What a convolution with padding 1 gives for all frames but the first two, which are the past.

        Args:
            frames: `frames.count` + 2, each [B, C, 1, H, W]; sums are made in float32 and rounded once to their dtype.
            kernel: from `kernel`.
            bias: [D].

        Returns:
            [B, D, frames.count, H, W], channels last.
        """
        batch, channels, _, height, width = frames[0].shape
        tile, made = self.tile.count, kernel.shape[-1]
        down, across = (-(-side // tile) for side in (height, width))
        result = frames[0].new_empty(batch, self.frames.count, down, tile, across, tile, made)
        pictures = [frame.squeeze(2).movedim(1, -1) for frame in frames]
        rows = max(1, _ELEMENTS_AT_ONCE // (across * channels * 16))
        for number, first in product(range(batch), range(0, down, rows)):
            last = min(down, first + rows)
            block = self._block([picture[number] for picture in pictures], first * tile, last * tile)
            result[number, :, first:last] = self._convolve(block, kernel, bias)
        return result.flatten(4, 5).flatten(2, 3)[:, :, :height, :width].movedim(-1, 1)

    def _block(self, pictures: Sequence[Tensor], top: int, end: int) -> Tensor:
        """[frames, h, w, C]: what lies under the tiles of some rows, with zeros around the pictures."""
        height, width, channels = pictures[0].shape
        columns = -(-width // self.tile.count) * self.tile.count + _TAPS - 1
        block = torch.zeros(len(pictures), end - top + _TAPS - 1, columns, channels)
        first, last = max(0, top - 1), min(height, end + 1)
        for inside, picture in zip(block[:, first - top + 1 : last - top + 1, 1 : width + 1], pictures, strict=True):
            inside.copy_(picture[first:last])
        return block

    def _convolve(self, block: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """[frames + 2, h + 2, w + 2, C] -> [frames, tiles down, rows of a tile, tiles across, columns of a tile, D]."""
        side = self.tile.count
        down, across = ((length - _TAPS + 1) // side for length in block.shape[1:3])
        made = torch.empty(len(kernel), side * side * down * across * kernel.shape[-1])
        for frame, part, sums in zip(_changed(self.frames.of_given, block), kernel, made, strict=True):
            torch.matmul(
                torch.tensor(self.tile.of_products), self._multiplied(frame, part), out=sums.view(side, side, -1)
            )
        sums = _changed(self.frames.of_products, made).view(-1, side, side, down, across, kernel.shape[-1])
        if bias is not None:
            sums += bias
        return rearrange(sums, "T m n down across D -> T down n across m D")

    def _multiplied(self, frame: Tensor, kernel: Tensor) -> Tensor:
        """[h + 2, w + 2, C] -> [columns of a tile, places down, tiles * D]."""
        side, count = self.tile.count, len(kernel)
        windows = frame.flatten(1).unfold(0, count, side).transpose(1, 2)  # [tiles down, places down, (w + 2) * C]
        lines = torch.matmul(torch.tensor(self.tile.of_given), windows).unflatten(2, frame.shape[1:])
        parts = lines.transpose(0, 1).unfold(2, count, side).unbind(-1)  # [places down, tiles down, tiles across, C]
        places = torch.empty(count, *parts[0].shape)
        for weights, place in zip(self.tile.of_given, places, strict=True):
            _add_up(weights, parts, place)
        products = torch.bmm(places.flatten(2, 3).flatten(0, 1), kernel.flatten(0, 1))
        return _changed(self.tile.of_products, products.view(count, -1)).view(side, count, -1)


def filtering_for(conv: nn.Conv3d, frames: Tensor) -> Filtering | None:
    """How to convolve frames [B, C, T, H, W] faster than torch does; None if they cannot be.

    A CPU with a matrix unit multiplies 16-bit numbers far faster than others, and gradients need torch's convolution.
    """
    is_for_cpu = frames.device.type == "cpu" and not (frames.dtype.itemsize < 4 and _has_matrix_unit())
    if not is_for_cpu or is_recorded(conv, frames) or conv.kernel_size != (_TAPS,) * 3:
        return None
    tiles = prod(-(-side // _TILE.count) for side in frames.shape[3:])
    if min(conv.in_channels, conv.out_channels) < _FEWEST_CHANNELS or tiles < _FEWEST_TILES:
        return None
    return _FILTERINGS.get(frames.shape[2])


def is_recorded(conv: nn.Conv3d, frames: Tensor) -> bool:
    """Whether gradients of this convolution will be asked for."""
    return torch.is_grad_enabled() and (frames.requires_grad or conv.weight.requires_grad)


@lru_cache(maxsize=1)
def _has_matrix_unit() -> bool:
    return torch.cpu._is_amx_tile_supported()


def _changed(matrix: list[list[float]], parts: Tensor) -> Tensor:
    """[n, ...] -> [m, ...]: the parts times a matrix [m, n]."""
    return (torch.tensor(matrix) @ parts.flatten(1)).unflatten(1, parts.shape[1:])


def _add_up(weights: Sequence[float], parts: Sequence[Tensor], result: Tensor) -> None:
    """The parts times their weights, the last of which is one."""
    terms = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight]
    last, _ = terms.pop()
    part, weight = terms.pop()
    torch.add(last, part, alpha=weight, out=result)
    for part, weight in terms:
        result.add_(part, alpha=weight)


def _side(points: Sequence[float]) -> _Side:
    """The Toom-Cook construction for these points and infinity: one result less than there are points."""
    count = len(points) - 1
    of_given = [_polynomial([other for other in points if other != point]) + [0.0] for point in points]
    of_taps = [
        [point**power / prod(point - other for other in points if other != point) for power in range(_TAPS)]
        for point in points
    ]
    of_products = [[point**power for point in points] + [float(power == count - 1)] for power in range(count)]
    return _Side(count, [*of_given, _polynomial(points)], [*of_taps, [0.0] * (_TAPS - 1) + [1.0]], of_products)


def _polynomial(roots: Sequence[float]) -> list[float]:
    """The coefficients of the product of (x - root), that of the highest power last."""
    coefficients = [1.0]
    for root in roots:
        raised, scaled = [0.0, *coefficients], [root * value for value in coefficients] + [0.0]
        coefficients = [high - low for high, low in zip(raised, scaled, strict=True)]
    return coefficients


# With points of which the outer ones are 2 and -2, results were twice as far from the exact ones.
_TILE = _side((0.0, 0.75, -0.75, 1.5, -1.5))
_FILTERINGS = {side.count: Filtering(side, _TILE) for side in (_side((0.0, 1.0, -1.0)), _TILE)}
