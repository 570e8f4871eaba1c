"""CLIP features of the start image (and end image), for the image branch of Wan 2.1's cross-attention."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...common.records import record
from ..branches.clip import ClipBranch, ClipInput
from ..inputs import DitInputs, expand_batch
from .cut import Cut


@record
class ClipImage:
    """A conditioning item.

    Attributes:
        features: [1 or B, 257, 1280], the penultimate hidden states of the CLIP vision encoder.
        end_features: the same of the last frame, for first-last-frame models; None when there is none.
    """

    features: Tensor
    end_features: Tensor | None = None

    @property
    def branch(self) -> type[ClipBranch]:
        """See `ConditioningItem.branch`."""
        return ClipBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the start's features, followed by the end's, to what steers the model."""
        features = self.features
        if self.end_features is not None:
            features = torch.cat([features, self.end_features], dim=1)
        latent = inputs.latent
        picture = ClipInput(expand_batch(features.to(latent), latent.shape[0]))
        return replace(inputs, steering=(*inputs.steering, picture))

    def window(self, cut: Cut) -> ClipImage:
        """The item itself: it is for the whole clip."""
        return self

    def to(self, device: torch.device) -> ClipImage:
        """This item on a device."""
        end = self.end_features
        return ClipImage(self.features.to(device), None if end is None else end.to(device))
