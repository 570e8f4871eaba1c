"""Convolutions of pictures, in the layout in which they are both fast and exact."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(pictures: Tensor, kernel: Tensor, bias: Tensor | None, *, padding: int = 0, stride: int = 1) -> Tensor:
    """A 2D convolution, channels last where the numbers have 16 bits or are not on a CPU.

    With the channels last, oneDNN adds up all taps of a float32 result one after the other, where a processor has
    AVX-512: 1e-6 (relative l2) from the exact sums of 384 channels in three frames, four times as far as its kernels
    for the other layout. These are as fast when they are asked for as a 3D convolution of one frame.

    Args:
        pictures: [B, C, H, W].
        kernel: [D, C, n, n], best as `laid_out` gives it.
        bias: [D].
        padding: rows and columns of zeros at each side.
        stride: of both sides.

    Returns:
        [B, D, H', W'].
    """
    if not _adds_up_in_float32(kernel):
        return F.conv2d(pictures, kernel, bias, stride, padding)
    frame = pictures.contiguous().unsqueeze(2)
    return F.conv3d(frame, laid_out(kernel).unsqueeze(2), bias, (1, stride, stride), (0, padding, padding)).squeeze(2)


def laid_out(kernel: Tensor) -> Tensor:
    """The same kernel [D, C, n, n] in the layout that `convolve` wants."""
    layout = torch.contiguous_format if _adds_up_in_float32(kernel) else torch.channels_last
    return kernel.contiguous(memory_format=layout)


def _adds_up_in_float32(kernel: Tensor) -> bool:
    return kernel.device.type == "cpu" and kernel.dtype == torch.float32
