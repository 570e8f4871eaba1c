"""Frames given beforehand (first, last, any): as a video with grey gaps, as a mask, as input channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from einops import repeat
from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ...common.shapes import TEMPORAL_STRIDE, check_frames, latent_frames
from ..inputs import DitInputs, expand_batch
from .cut import Cut


@record
class KeyframeImages:
    """A conditioning item: the model keeps the given frames.

    Attributes:
        latent: [1 or B, 16, T, h, w], normalised latent of `keyframe_video`.
        mask: [1 or B, 4, T, h, w] of `keyframe_mask`, 1 = given; None for models that have no channels for one.
    """

    latent: Tensor
    mask: Tensor | None

    @property
    def branch(self) -> None:
        """See `ConditioningItem.branch`."""
        return None

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Fills `image_channels` with the mask, followed by the latent."""
        return replace(inputs, image_channels=beside(inputs.latent, self.parts))

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """What goes into the model's channels, in order."""
        return (self.latent,) if self.mask is None else (self.mask, self.latent)

    def window(self, cut: Cut) -> KeyframeImages:
        """What is given of some of the latent's frames."""
        return KeyframeImages(cut.of_given(self.latent), None if self.mask is None else cut.of_given(self.mask))

    def to(self, device: torch.device) -> KeyframeImages:
        """This item on a device."""
        return KeyframeImages(self.latent.to(device), None if self.mask is None else self.mask.to(device))


def beside(latent: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """The channels [B, ..., T, h, w] beside `latent` [B, C, T, h, w], of parts [1 or B, ..., T, h, w] in order."""
    return torch.cat([expand_batch(part.to(latent), latent.shape[0]) for part in parts], dim=1)


def keyframe_mask(frames_given: Sequence[int], frames: int, height: int, width: int) -> Tensor:
    """Which frames of a clip are given, as the model reads it.

    Each latent frame has four channels, one per video frame it covers. The first latent frame covers one video
    frame, whose value stands in all four.

    Args:
        frames_given: indices of the given frames, 0..frames - 1; negative ones count from the end.
        frames: length of the clip, 1 + 4k.
        height, width: size of the latent.

    Returns:
        [1, 4, T, height, width], float32, 1 = given.

    Raises:
        InvalidInputError: the clip length is not 1 + 4k, or an index lies outside the clip.
    """
    given = torch.zeros(frames, dtype=torch.float32)
    for index in frames_given:
        given[_checked(index, frames)] = 1
    given = torch.cat([given[:1].expand(TEMPORAL_STRIDE - 1), given])
    return repeat(given, "(T four) -> 1 four T h w", T=latent_frames(frames), h=height, w=width).contiguous()


def keyframe_video(given: Mapping[int, Tensor], frames: int) -> Tensor:
    """The clip that the VAE encodes for `KeyframeImages`: given frames in their places, mid-grey elsewhere.

    Args:
        given: frame index -> [3, H, W], values in [-1, 1]; at least one, all of one size.
        frames: length of the clip, 1 + 4k.

    Returns:
        [1, 3, frames, H, W] in the dtype and on the device of the first given frame.

    Raises:
        InvalidInputError: nothing given, one frame given twice, sizes differ, a bad clip length, or an index outside
            the clip.
    """
    check_frames(frames)
    if not given:
        raise InvalidInputError("No frame is given. Give at least one image, or use text to video.")
    images = {_checked(index, frames): image for index, image in given.items()}
    if len(images) < len(given):
        raise InvalidInputError(f"A frame is given twice: {sorted(given)} in a clip of {frames}. Give each frame once.")
    sizes = {tuple(image.shape) for image in images.values()}
    if len(sizes) > 1:
        raise InvalidInputError(f"The given frames have different shapes: {sorted(sizes)}. Bring them to one size.")
    first = next(iter(images.values()))
    channels, height, width = first.shape
    video = first.new_zeros(1, channels, frames, height, width)
    for index, image in images.items():
        video[0, :, index] = image
    return video


def _checked(index: int, frames: int) -> int:
    if not -frames <= index < frames:
        raise InvalidInputError(f"Frame {index} lies outside a clip of {frames} frames. Use 0..{frames - 1}.")
    return index % frames
