"""How a clip is cut into windows that the model sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..dit.inputs import Cut


class Windows(Protocol):
    """A choice of windows; where several show a frame, their velocities are averaged by weight."""

    def cuts(self, latent_frames: int) -> tuple[Cut, ...]:
        """The windows of a clip, which show every frame at least once; a single one shows the whole clip."""
        ...

    def weights(self, cut: Cut) -> Tensor:
        """How much each of a window's frames counts beside those of other windows: [T of the window], above 0."""
        ...


@dataclass(frozen=True, slots=True)
class WholeClip:
    """The model sees the whole clip at once."""

    def cuts(self, latent_frames: int) -> tuple[Cut, ...]:
        """One window."""
        return (Cut(0, latent_frames, latent_frames),)

    def weights(self, cut: Cut) -> Tensor:
        """All the same."""
        return torch.ones(cut.stop - cut.start, dtype=torch.float32)


def longest_window(windows: Windows, latent_frames: int) -> int:
    """The most latent frames that a pass sees of a clip."""
    return max(cut.stop - cut.start for cut in windows.cuts(latent_frames))


WHOLE_CLIP = WholeClip()
