"""Noise of a Brownian motion over sigma: a function of the seed alone, however the path is cut into steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..step import Course

DIGITS = 6
"""Sigmas are rounded to a millionth."""
_POOL = 24


class _Piece(NamedTuple):
    """A piece of the path: from sigma `start` to `end`, its place in the tree, and how far the path moves in it."""

    start: float
    end: float
    key: int
    depth: int
    moved: Tensor


def brownian_noise(seed: int, course: Course, span: tuple[float, float], latent: Tensor) -> Tensor:
    """Standard normal noise of the motion between two sigmas, in a latent's shape, dtype and device.

    Noises of spans that share a part are correlated by it. The path is found by halving the whole of it, so that a
    noise costs at most 40 draws. Drawn on the CPU.

    Args:
        seed: of the run.
        course: the run's schedule, over whose sigmas above 0 the path goes.
        span: the sigmas, in either order.

    Source: torchsde 0.2.6 BrownianTree (torchsde/_brownian/brownian_interval.py), as comfyanonymous/ComfyUI
    comfy/k_diffusion/sampling.py BrownianTreeNoiseSampler uses it (v0.3.64 and v0.33.0): the same seeds, the same
    numbers where the sigmas round to the same ones.
    """
    low, high = (float(np.float32(sigma)) for sigma in (course.lowest, course.highest))
    root = np.random.SeedSequence(seed, pool_size=_POOL).generate_state(3)[0]
    moved = _normal(root, latent) * math.sqrt(high - low)
    whole = _Piece(round(low, DIGITS), round(high, DIGITS), 0, 0, moved)
    start, end = sorted(min(max(float(np.float32(sigma)), whole.start), whole.end) for sigma in span)
    moved = torch.zeros_like(moved)
    for piece in _pieces(seed, whole, round(start, DIGITS), round(end, DIGITS)):
        moved = moved + piece.moved
    return -moved.to(latent) / math.sqrt(abs(span[1] - span[0]))


def _pieces(seed: int, piece: _Piece, start: float, end: float) -> Iterator[_Piece]:
    """The pieces of the tree that make up the way from `start` to `end`, in order."""
    if start >= piece.end or end <= piece.start:
        return
    if start <= piece.start and end >= piece.end:
        yield piece
        return
    for half in _halves(seed, piece):
        yield from _pieces(seed, half, start, end)


def _halves(seed: int, piece: _Piece) -> tuple[_Piece, _Piece]:
    """A piece cut in two, by the Brownian bridge over it."""
    start, end, key, depth, moved = piece
    middle = round(0.5 * (end + start), DIGITS)
    own = np.random.SeedSequence(seed, spawn_key=(key, depth), pool_size=_POOL).generate_state(4)[0]
    before, after, per_length = middle - start, end - middle, 1 / (end - start)
    left = before * moved * per_length + math.sqrt(before * after * per_length) * _normal(own, moved)
    return (
        _Piece(start, middle, 2 * key, depth + 1, left),
        _Piece(middle, end, 2 * key + 1, depth + 1, moved - left),
    )


def _normal(seed: int, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(int(seed))
    return torch.randn(like.shape, generator=generator, dtype=torch.float32)
