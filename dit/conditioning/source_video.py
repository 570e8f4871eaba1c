"""A clip to edit in the model's own channels (Lucy-Edit)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...common.records import record
from ..inputs import DitInputs
from .cut import Cut
from .start_image import beside


@record
class SourceVideo:
    """A conditioning item: the model makes the edited form of this clip.

    Attributes:
        latent: [1 or B, C, T, h, w], normalised latent of the clip as it is.

    Source: huggingface/diffusers src/diffusers/pipelines/lucy/pipeline_lucy_edit.py at v0.42.1.
    """

    latent: Tensor

    @property
    def branch(self) -> None:
        """See `ConditioningItem.branch`."""
        return None

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Fills `image_channels` with the clip."""
        return replace(inputs, image_channels=beside(inputs.latent, (self.latent,)))

    def window(self, cut: Cut) -> SourceVideo:
        """What of the clip goes with some of the latent's frames."""
        return SourceVideo(cut.of(self.latent))

    def to(self, device: torch.device) -> SourceVideo:
        """This item on a device."""
        return SourceVideo(self.latent.to(device))
