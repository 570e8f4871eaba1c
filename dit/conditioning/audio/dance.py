"""What Wan-Dancer is given: music, and who dances."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....common.records import record
from ...branches.audio.dance import DanceBranch, DanceInput
from ...inputs import DitInputs
from ..cut import Cut


@record
class DancedMusic:
    """A conditioning item: the music of a video, and who dances to it.

    `music` [1 or B, moments, 35]; `fps` of the video, below 30 for a plan of the whole song; the latent frames from
    `start` to `stop` of `frames` are made, which last as long as the music; `strength` of what is heard; `picture`
    [1 or B, tokens, width], CLIP features of who dances, or None.
    """

    music: Tensor
    fps: float
    frames: int
    start: int
    stop: int
    strength: float = 1.0
    picture: Tensor | None = None

    @property
    def branch(self) -> type[DanceBranch]:
        """See `ConditioningItem.branch`."""
        return DanceBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds both to what steers the model."""
        latent = inputs.latent
        picture = None if self.picture is None else self.picture.to(latent)
        dance = DanceInput(
            self.music.to(latent), self.fps, self.frames, self.start, self.stop, self.strength, picture
        )  # fmt: skip
        return replace(inputs, steering=(*inputs.steering, dance))

    def window(self, cut: Cut) -> DancedMusic:
        """What is heard in some of the latent's frames; the whole song is heard with it."""
        frames = cut.of_times(torch.arange(self.start, self.stop), dim=0)
        return replace(self, start=int(frames[0]), stop=int(frames[-1]) + 1)

    def to(self, device: torch.device) -> DancedMusic:
        """This item on a device."""
        picture = None if self.picture is None else self.picture.to(device)
        return replace(self, music=self.music.to(device), picture=picture)
