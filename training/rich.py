"""Busy clips for the VAE alone: gradients, textures and several shapes of any colour, so that it can hold more
than the flat scenes the transformer is taught.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.training.scenes import coverage, place, sample_scene


def rich_clips(rng: np.random.Generator, count: int, frames: int, height: int, width: int) -> Tensor:
    """Random busy clips: [count, 3, F, H, W] float32 in -1..1."""
    return torch.stack([_clip(rng, frames, height, width) for _ in range(count)])


def _clip(rng: np.random.Generator, frames: int, height: int, width: int) -> Tensor:
    clip = _backdrop(rng, frames, height, width)
    if rng.random() < 0.3:
        clip = (clip + 0.6 * rng.random() * _backdrop(rng, frames, height, width, finest=20)).clamp(-1, 1)
    for _ in range(rng.integers(0, 6)):
        scene = place(sample_scene(rng), rng, width / height)
        alpha = coverage([scene], frames, height, width)
        colour = torch.from_numpy(rng.uniform(-1, 1, 3)).float()[:, None, None, None]
        clip = clip + (colour - clip) * alpha
    return clip


def _backdrop(rng: np.random.Generator, frames: int, height: int, width: int, finest: int = 8) -> Tensor:
    """A smooth random picture that slides slowly: [3, F, H, W]."""
    cells = int(rng.integers(2, finest + 1))
    noise = torch.from_numpy(rng.normal(0, 0.6, (1, 3, cells, cells))).float()
    noise = noise + torch.from_numpy(rng.uniform(-0.6, 0.6, (1, 3, 1, 1))).float()
    way = rng.integers(-8, 9, 2) * (rng.random() < 0.6)
    mode = "bicubic" if rng.random() < 0.8 else "nearest"
    canvas = F.interpolate(noise, (height + 16, width + 16), mode=mode).clamp(-1, 1)[0]
    rows = 8 + np.round(np.linspace(0, 1, frames) * way[0]).astype(int)
    columns = 8 + np.round(np.linspace(0, 1, frames) * way[1]).astype(int)
    return torch.stack([canvas[:, y : y + height, x : x + width] for y, x in zip(rows, columns)], dim=1)
