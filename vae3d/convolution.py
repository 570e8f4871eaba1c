"""How torch's libraries convolve: the layout in which they are fast and exact, and a pair that is known to be bad."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.log import logger

_MENDED = 91500


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


def has_slow_conv3d(torch_version: str, cudnn_version: int | None) -> bool:
    """Whether 3D convolutions in 16 bits take two to three times the memory they should.

    Source: pytorch/pytorch issue 166643: torch 2.9 with cuDNN before 9.15.
    """
    return torch_version.startswith("2.9.") and cudnn_version is not None and cudnn_version < _MENDED


@lru_cache(maxsize=1)
def warn_of_slow_conv3d() -> None:
    """Says once what to do about such a pair; to be asked when an autoencoder runs on a CUDA device."""
    version = torch.backends.cudnn.version()
    if has_slow_conv3d(torch.__version__, version):
        logger.warning(
            "torch %s with cuDNN %d takes two to three times the memory for 3D convolutions. Our VAE avoids most of "
            "them; for the rest, and for other nodes, install nvidia-cudnn-cu12 9.15 or newer, or torch 2.10.",
            torch.__version__, version,
        )  # fmt: skip
