"""Clips that show the same: of several alike one is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_DIFFERENT = 10
"""Bits of 64 in which pictures of the same may differ. Those of a film and a hard compressed copy of it differ in 3 to
9, those of two made textures in 13 or more, and of different shots of real films in 23 or more."""
_BITS = np.array([number.bit_count() for number in range(256)], np.uint8)


def originals(hashes: Sequence[tuple[int, ...]], worth: Sequence[Any]) -> list[int | None]:
    """Of each clip the number of the one that it repeats; None for those that repeat none.

    Of clips alike the one that is worth most is the original, and of several such the first.

    Args:
        hashes: of each clip, of its frames.
        worth: of each clip, what compares as larger where it is rather kept.
    """
    found: list[int | None] = [None] * len(hashes)
    if not hashes:
        return found
    order = sorted(range(len(hashes)), key=worth.__getitem__, reverse=True)  # equal ones stay in their order
    every = np.array(hashes, np.uint64).reshape(len(hashes), -1)[order]
    kept: list[int] = []
    for place, number in enumerate(order):
        same = _alike(every[place], every[kept])
        if len(same):
            found[number] = order[kept[int(same[0])]]
        else:
            kept.append(place)
    return found


def _alike(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of others [n, k] have no frame that differs from the one of hashes [k]."""
    different = _BITS[(hashes ^ others).view(np.uint8).reshape(*others.shape, 8)].sum(-1)
    return np.flatnonzero((different <= MOST_DIFFERENT).all(-1))
