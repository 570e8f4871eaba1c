"""A video rendered along a camera's path, for Uni3C."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...common.checking import check_number
from ...common.errors import InvalidInputError, PairingError
from ...common.log import logger
from ...common.records import record
from ...common.shapes import size_text, video_frames
from ..branches.uni3c import LATENT_CHANNELS, Uni3CBranch, Uni3CInput
from ..inputs import DitInputs, expand_batch
from .cut import Cut

MOST_STRENGTH = 10.0
_ROUNDING = 1e-6


@record
class RenderedVideo:
    """A conditioning item: the model follows a rendered video.

    Attributes:
        latent: [1 or B, C, T, h, w], normalised.
        strength: 1 as in training, 0 for no influence.
        first_sigma, last_sigma: it counts at noise levels between these two, both included.
        start, end: in which part of a schedule it is to count, 0..1, which the two above are made of for a run.
    """

    latent: Tensor
    strength: float = 1.0
    first_sigma: float = 1.0
    last_sigma: float = 0.0
    start: float = 0.0
    end: float = 1.0

    @property
    def branch(self) -> type[Uni3CBranch]:
        """See `ConditioningItem.branch`."""
        return Uni3CBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the video to what steers the model, with the noisy latent and the mask that the model itself sees.

        Raises:
            PairingError: it was prepared for a latent of another size.
        """
        if not self._counts(inputs.timestep):
            return inputs
        latent, image = inputs.latent, inputs.image_channels
        if self.latent.shape[2:] != latent.shape[2:]:
            raise PairingError(
                f"The rendered video was prepared for a latent of {size_text(self.latent)}, but the latent to sample "
                f"has {size_text(latent)}. Prepare it for the latent that is sampled."
            )
        mask = latent.new_zeros(len(latent), LATENT_CHANNELS - latent.shape[1], *latent.shape[2:])
        if image is not None and image.shape[1] >= mask.shape[1]:
            mask = image[:, : mask.shape[1]].to(latent)
        render = expand_batch(self.latent.to(latent), len(latent))
        channels = torch.cat([latent, mask.expand(len(latent), -1, -1, -1, -1), render], dim=1)
        return replace(inputs, steering=(*inputs.steering, Uni3CInput(channels, self.strength)))

    def window(self, cut: Cut) -> RenderedVideo:
        """The part of the video that goes with some of the latent's frames."""
        return replace(self, latent=cut.of(self.latent))

    def to(self, device: torch.device) -> RenderedVideo:
        """This item on a device."""
        return replace(self, latent=self.latent.to(device))

    def _counts(self, timestep: Tensor) -> bool:
        if self.strength == 0.0:
            return False
        if timestep.numel() == 0 or timestep.is_meta or (self.first_sigma, self.last_sigma) == (1.0, 0.0):
            return True
        sigma = float(timestep.max()) / 1000
        return self.last_sigma - _ROUNDING <= sigma <= self.first_sigma + _ROUNDING


def check_following(strength: float, start: float, end: float) -> None:
    """Refuses numbers that nothing can be followed with.

    Raises:
        InvalidInputError: the message has them.
    """
    for name, value in (("strength", strength), ("start_percent", start), ("end_percent", end)):
        check_number(value, name)
    if not abs(strength) <= MOST_STRENGTH or not 0.0 <= start < end <= 1.0:
        raise InvalidInputError(
            f"Uni3C takes a strength from -{MOST_STRENGTH:g} to {MOST_STRENGTH:g} and a part of the steps from 0 to 1, "
            f"got {strength:g}, and {start:g} to {end:g}. Usual are 1, and 0 to 1."
        )


def as_long(clip: Tensor, latent_frames: int) -> Tensor:
    """A clip [F, H, W, C] as long as a video of so many latent frames; its last one stands still to the end."""
    frames = video_frames(latent_frames)
    if len(clip) > frames:
        logger.info("render_video has %d frames; the first %d are used.", len(clip), frames)
    elif len(clip) < frames:
        logger.info("render_video has %d frames of %d; the last one stands still.", len(clip), frames)
    missing = max(frames - len(clip), 0)
    return torch.cat([clip[:frames], clip[-1:].expand(missing, -1, -1, -1)])
