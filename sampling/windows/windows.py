"""How a clip is cut into windows that the model sees."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...common.records import record
from ...dit.conditioning.cut import Cut
from ..step import NoiseLevel


class ClipShape(NamedTuple):
    """Latent frames, rows and columns of a clip; `references` of the frames are pictures before the video."""

    frames: int
    height: int
    width: int
    references: int = 0


class Windows(Protocol):
    """A choice of windows; where several show a frame, their velocities are averaged by weight."""

    def cuts(self, clip: ClipShape, level: NoiseLevel) -> tuple[Cut, ...]:
        """The windows of a clip at a noise level, which show all of it; a single one shows the whole clip."""
        ...

    def weights(self, cut: Cut, clip: ClipShape) -> Tensor:
        """How much each place of a window counts beside other windows: [T of the window, 1 or h, 1 or w], at least 0.

        Over all windows their sum is above 0 everywhere.
        """
        ...

    def noise(self, noise: Tensor, seed: int, references: int) -> Tensor:
        """The noise [B, C, T, h, w] for a run in these windows, made of that for the whole clip."""
        ...


@record
class WholeClip:
    """The model sees the whole clip at once."""

    def cuts(self, clip: ClipShape, level: NoiseLevel) -> tuple[Cut, ...]:
        """One window."""
        return (whole_cut(clip),)

    def weights(self, cut: Cut, clip: ClipShape) -> Tensor:
        """All the same."""
        return torch.ones(cut.length, 1, 1, dtype=torch.float32)

    def noise(self, noise: Tensor, seed: int, references: int) -> Tensor:
        """The noise itself."""
        return noise


def whole_cut(clip: ClipShape) -> Cut:
    """All of a clip."""
    return Cut(0, clip.frames, clip.frames)


WHOLE_CLIP = WholeClip()
