"""A control video for VACE: what to keep, what to change, where, and reference pictures before it."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...common.records import record
from ...common.shapes import latent_frames
from ..branches.vace import VaceBranch, VaceInput
from ..inputs import DitInputs, expand_batch
from .cut import Cut


@record
class VaceControl:
    """A conditioning item: the model follows a control video.

    Attributes:
        channels: [1 or B, 96, T, h, w]: the normalised latents of the kept and of the changed part of the video (see
            `split_by_mask`), 16 channels each, and 64 of `mask_channels`. Latents of reference pictures come first.
        strength: 1 as in training, 0 for no influence.
    """

    channels: Tensor
    strength: float = 1.0

    @property
    def branch(self) -> type[VaceBranch]:
        """See `ConditioningItem.branch`."""
        return VaceBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds this control video to what steers the model."""
        latent = inputs.latent
        channels = expand_batch(self.channels.to(latent), latent.shape[0])
        return replace(inputs, steering=(*inputs.steering, VaceInput(channels, self.strength)))

    def window(self, cut: Cut) -> VaceControl:
        """The part of the control video that goes with some of the latent's frames; it holds what is given, too."""
        return replace(self, channels=cut.of_given(self.channels))

    def to(self, device: torch.device) -> VaceControl:
        """This item on a device."""
        return replace(self, channels=self.channels.to(device))


def split_by_mask(video: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The part of a video to keep and the part to change, each with mid-grey where the other is.

    Args:
        video: [F, H, W, 3], values in 0..1.
        mask: [F, H, W], 0 = keep, 1 = change; values between are cut at 0.5.

    Returns:
        Two videos like the first.

    Source: Wan-Video/Wan2.1 wan/vace.py, vace_encode_frames.
    """
    changes = (mask > 0.5).unsqueeze(-1)
    grey = video.new_tensor(0.5)
    return torch.where(changes, grey, video), torch.where(changes, video, grey)


def mask_channels(mask: Tensor, references: int = 0, stride: int = 8) -> Tensor:
    """The mask as the model reads it: each pixel of a latent pixel's square is a channel, one frame per latent frame.

    Args:
        mask: [F, H, W], 0 = keep, 1 = change. Values between are handed on as they are: only the pictures of
            `split_by_mask` are cut, and how soft the mask is, is for the model to see.
        references: latent frames of reference pictures before the video; their mask is 0.
        stride: pixels of the video along a side of a latent pixel.

    Returns:
        [1, stride * stride, references + T, h, w], float32.

    Source: Wan-Video/Wan2.1 wan/vace.py, vace_encode_masks.
    """
    frames, height, width = mask.shape
    channels = rearrange(mask.float(), "F (h q) (w r) -> 1 (q r) F h w", q=stride, r=stride)
    size = (latent_frames(frames), *channels.shape[-2:])
    channels = F.interpolate(channels, size=size, mode="nearest-exact")
    return F.pad(channels, (0, 0, 0, 0, references, 0))
