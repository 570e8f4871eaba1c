"""The poses and the face that a person of a reference picture follows (Wan-Animate).

The latent has a frame of the reference picture before those of the video; poses and face are those of the video.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....common.records import record
from ....common.shapes import TEMPORAL_STRIDE
from ...branches.animate.face import FaceBranch, FaceInput
from ...branches.animate.pose import AnimatePoseBranch, AnimatePoseInput
from ...inputs import DitInputs
from ..cut import Cut

_HEARD_BEFORE = 2
"""Latent frames before one that the encoder of a face hears: convolutions of three, at three rates, over the past."""


@record
class AnimatePoseVideo:
    """A conditioning item: `latent` [1 or B, C, n, h, w], normalised, of the first n latent frames of the video."""

    latent: Tensor

    @property
    def branch(self) -> type[AnimatePoseBranch]:
        """See `ConditioningItem.branch`."""
        return AnimatePoseBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the poses to what steers the model."""
        return replace(inputs, steering=(*inputs.steering, AnimatePoseInput(self.latent.to(inputs.latent))))

    def window(self, cut: Cut) -> AnimatePoseVideo:
        """The poses of some of the latent's frames; none behind their end."""
        start, stop = _of_video(cut)
        return AnimatePoseVideo(cut.of_picture(self.latent)[:, :, start : max(stop, start)])

    def to(self, device: torch.device) -> AnimatePoseVideo:
        """This item on a device."""
        return AnimatePoseVideo(self.latent.to(device))


@record
class FaceVideo:
    """A conditioning item: the person has the expressions of a face.

    The pictures stay on their device, since they are larger than all that a pass holds of a short video; a pass fetches
    them one at a time.

    Attributes:
        pixels: [1 or B, 3, F, side, side] in -1..1, of the video's first F frames.
        before: latent frames at the beginning that are not of the part that is made, but heard by the encoder.
    """

    pixels: Tensor
    before: int = 0

    @property
    def branch(self) -> type[FaceBranch]:
        """See `ConditioningItem.branch`."""
        return FaceBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the face to what steers the model."""
        face = FaceInput(self.pixels, inputs.latent.shape[2], self.before)
        return replace(inputs, steering=(*inputs.steering, face))

    def window(self, cut: Cut) -> FaceVideo:
        """The face of some of the latent's frames, exactly as the model hears it of the whole clip."""
        start, stop = _of_video(cut)
        before = min(start, _HEARD_BEFORE)
        first, last = TEMPORAL_STRIDE * (start - before), TEMPORAL_STRIDE * (stop - 1) + 1
        pixels = self.pixels[:, :, first:last]
        if not pixels.shape[2]:  # it has ended: one picture, of which the model hears nothing
            return FaceVideo(self.pixels[:, :, -1:], before=1)
        return FaceVideo(pixels, before)

    def to(self, device: torch.device) -> FaceVideo:
        """The item itself, see above."""
        return self


def _of_video(cut: Cut) -> tuple[int, int]:
    """The latent frames of the video, start and stop, behind the one that stands in the reference's place."""
    return cut.start - cut.references, cut.stop - 1
