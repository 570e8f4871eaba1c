"""A pose video for Wan-Animate-2, and how strongly it and the reference picture are followed."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....common.errors import PairingError
from ....common.records import record
from ...branches.pose import PoseBranch, PoseInput
from ...inputs import DitInputs
from ..cut import Cut

WEAK_BLOCK = 9
"""What the original code leaves out of its negative passes."""


@record(eq=False)
class PoseVideo:
    """A conditioning item.

    Attributes:
        latent: [1 or B, C, T, h, w], normalised, of the pose video; T is one less than the latent to sample has, which
            begins with the reference picture. None where no poses are shown.
        text: [1 or B, text_tokens, text_dim], of the pose video; None for that of the prompt.
        features: [1 or B, 257, 1280], of CLIP vision, of the pose video's first picture; None without.
        strength, reference_strength, first_frame_bias: see `PoseInput`.
        left_out: blocks, by number, that are left out of the passes of this prompt.
    """

    latent: Tensor | None
    text: Tensor | None = None
    features: Tensor | None = None
    strength: float = 1.0
    reference_strength: float = 1.0
    first_frame_bias: float = 0.0
    left_out: frozenset[int] = frozenset()

    @property
    def branch(self) -> type[PoseBranch]:
        """See `ConditioningItem.branch`."""
        return PoseBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the poses to what steers the model."""
        like = inputs.latent
        pose = PoseInput(
            like.shape[2],
            None if self.latent is None else self.latent.to(like),
            inputs.text if self.text is None else self.text.to(like),
            None if self.features is None else self.features.to(like),
            self.strength,
            self.reference_strength,
            self.first_frame_bias,
        )
        return replace(inputs, steering=(*inputs.steering, pose), skipped=inputs.skipped | self.left_out)

    def window(self, cut: Cut) -> PoseVideo:
        """The poses of some of the latent's frames, those behind the reference picture.

        Raises:
            PairingError: they are of another length.
        """
        if self.latent is None:
            return self
        latent, frames = cut.of_picture(self.latent), self.latent.shape[2]
        if frames != cut.frames - 1:
            raise PairingError(
                f"The pose video was prepared for {frames} latent frames behind a reference picture, but the latent "
                f"has {cut.frames} in all. Prepare it for a video of the same length."
            )
        first = max(cut.start - 1, 0)
        return replace(self, latent=latent[:, :, first : cut.stop - 1])

    def to(self, device: torch.device) -> PoseVideo:
        """This item on a device."""
        latent, text, features = (
            None if each is None else each.to(device) for each in (self.latent, self.text, self.features)
        )
        return replace(self, latent=latent, text=text, features=features)
