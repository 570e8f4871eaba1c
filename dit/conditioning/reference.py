"""A reference picture for Wan Fun-Control: someone or something that the video shows."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...common.records import record
from ..branches.reference import ReferenceBranch, ReferenceInput
from ..inputs import DitInputs
from .cut import Cut


@record
class ReferencePicture:
    """A conditioning item: `latent` [1 or B, C, 1, h, w], normalised, of a picture of the video's size."""

    latent: Tensor

    @property
    def branch(self) -> type[ReferenceBranch]:
        """See `ConditioningItem.branch`."""
        return ReferenceBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the picture to what steers the model."""
        return replace(inputs, steering=(*inputs.steering, ReferenceInput(self.latent.to(inputs.latent))))

    def window(self, cut: Cut) -> ReferencePicture:
        """What of the picture goes with a rectangle of the clip; it is for all frames."""
        return ReferencePicture(cut.of_picture(self.latent))

    def to(self, device: torch.device) -> ReferencePicture:
        """This item on a device."""
        return ReferencePicture(self.latent.to(device))
