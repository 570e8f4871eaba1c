"""Noise that repeats itself from window to window, so that all of them lay out the same picture."""

from __future__ import annotations

import torch
from torch import Tensor

from .placing import WindowRow


def repeated_noise(noise: Tensor, row: WindowRow, seed: int) -> Tensor:
    """`noise` [B, C, T, h, w], in which the frames after the first window are earlier ones in another order.

    Those that a window adds are the ones one window before them, shuffled: each is one of the first window.

    Args:
        row: of the windows; its `frames` are T.
        seed: of the order.

    Source: Qiu et al., "FreeNoise", arXiv 2310.15169, section 4.1; ComfyUI v0.33.0, comfy/context_windows.py,
    apply_freenoise, whose order it is.
    """
    generator, repeated = torch.Generator().manual_seed(seed), noise.clone()
    for start in range(0, row.frames - row.size, row.hop):
        place = start + row.size
        count = min(row.hop, row.frames - place)
        order = torch.randperm(count, generator=generator) + start
        repeated[:, :, place : place + count] = repeated[:, :, order]
    return repeated


def fresh_noise(noise: Tensor, row: WindowRow, seed: int) -> Tensor:
    """The noise itself."""
    return noise
