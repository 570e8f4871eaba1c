"""The edges of pictures, as control videos show them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
_NOTHING = 1e-6
"""Added to a gradient's square, and the gradient's square outside of the picture."""
_AROUND = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""The neighbours of a pixel (rows, columns), by the direction of a gradient in eighths of a turn from right to down."""


def find_edges(pictures: Tensor, low: float, high: float) -> Tensor:
    """Where a picture changes most, one pixel wide: white on black.

    Args:
        pictures: [F, H, W, 3], float, in 0..1.
        low, high: change per pixel, times eight, from which on a pixel belongs to an edge that another pixel of it has
            begun, and from which on it begins one.

    Returns:
        [F, H, W], float32, 0 or 1.

    Source: A Computational Approach to Edge Detection (IEEE PAMI 8, 1986); with the filters and the rule for equal
        neighbours of kornia/kornia kornia/filters/canny.py 0.9.0.
    """
    return torch.stack([_edges(picture, low, high) for picture in pictures])


def _edges(picture: Tensor, low: float, high: float) -> Tensor:
    down, right = _gradient(_blurred(picture.float() @ torch.tensor(_LUMA)))
    outside = F.pad(torch.stack([down, right]), (1, 1, 1, 1))
    strength = (outside.square().sum(dim=0) + _NOTHING).sqrt()  # [H + 2, W + 2]
    height, width = right.shape
    around = torch.stack([strength[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in _AROUND])
    inside = strength[1:-1, 1:-1]
    eighth = (torch.atan2(down, right) * (4 / math.pi)).round().long() % 8
    is_peak = _beats(inside, around, eighth) & _beats(inside, around, (eighth + 4) % 8)
    is_peak &= inside > _NOTHING**0.5
    return _connected(is_peak & (inside > low), is_peak & (inside > high)).float()


def _beats(strength: Tensor, around: Tensor, direction: Tensor) -> Tensor:
    """Where a pixel is stronger than its neighbour in a direction; of two equal ones the left or upper one is."""
    neighbour = around.gather(0, direction[None])[0]
    may_tie = (direction == 0) | (direction == 2)
    return (strength > neighbour) | (may_tie & (strength == neighbour))


def _connected(weak: Tensor, strong: Tensor) -> Tensor:
    """The strong pixels [H, W], and the weak ones that touch them, or touch such ones."""
    while True:
        grown = weak & (F.max_pool2d(strong[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0) | strong
        if torch.equal(grown, strong):
            return strong
        strong = grown


def _blurred(grey: Tensor) -> Tensor:
    """[H, W] -> [H, W], with a Gaussian of five pixels and a deviation of one."""
    taps = torch.exp(-torch.arange(-2.0, 3.0).square() / 2)
    taps = (taps / taps.sum()).view(1, 1, 1, 5)
    grey = F.conv2d(F.pad(grey[None, None], (2, 2, 0, 0), mode="reflect"), taps)
    return F.conv2d(F.pad(grey, (0, 0, 2, 2), mode="reflect"), taps.mT)[0, 0]


def _gradient(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's change of a picture [H, W] downwards and to the right."""
    right = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([right.T, right]).unsqueeze(1)
    down, across = F.conv2d(F.pad(grey[None, None], (1, 1, 1, 1), mode="replicate"), kernels)[0]
    return down, across
