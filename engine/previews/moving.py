"""A moving picture for whoever watches a run, and how one is wished for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...common.records import record

RATES = (4.0, 8.0)
"""Pictures a second, at least and at most: slower ones do not look like motion, faster ones have no more to show."""


class MovingPicture(NamedTuple):
    """Pictures [F, h, w, 3], uint8, on the CPU, to be shown again and again, `rate` of them a second."""

    frames: Tensor
    rate: float

    @property
    def still(self) -> Tensor:
        """The picture that stands for all: [h, w, 3], of the middle, as the first may be a given one."""
        return self.frames[len(self.frames) // 2]


@record
class PreviewWish:
    """How someone wants to see a run.

    Attributes:
        side: the longest side in pixels that is shown.
        decoder: the file of a preview decoder; None for blurred colours, which need none.
    """

    side: int
    decoder: Path | None = None


def moving(pictures: Tensor, duration_s: float) -> MovingPicture:
    """Pictures [F, h, w, 3] in 0..1 of a video so long, at its pace as far as `RATES` let them."""
    slowest, fastest = RATES
    rate = min(max(len(pictures) / duration_s, slowest), fastest)
    return MovingPicture((pictures * 255).round().to(device="cpu", dtype=torch.uint8), rate)
