"""Where a clip is edited, between a native MASK in pixels and the latent.

A MASK counts for each latent pixel of which it touches a part; the one that is given out comes back the same.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.checking import has_values, tensor_of
from ...common.errors import InvalidInputError
from ...common.shapes import TEMPORAL_STRIDE, video_frames
from ..sockets.latents import reference_frames
from ..sockets.noise_masks import latent_mask


def mask_in_latent(mask: Any, latent: dict[str, Any], clean: Tensor, stride: int) -> Tensor:
    """Where the inputs let a clip be edited: [1 or B, 1 or C, T, h, w], float32, 0..1.

    Where the LATENT has a noise mask, too, both count. References before the video stay as they are.

    Args:
        mask: a native MASK [F, H, W] or [H, W], for each video or one for all; None for everywhere.
        latent: the LATENT.
        clean: its samples [B, C, T, h, w].
        stride: pixels to a latent pixel.

    Raises:
        InvalidInputError: a mask is none.
    """
    references = reference_frames(latent)
    video = clean[:, :, references:]
    allowed = torch.ones(1, 1, *video.shape[2:]) if mask is None else _of_pixels(mask, video, stride)
    allowed = F.pad(allowed, (0, 0, 0, 0, references, 0))
    if latent.get("noise_mask") is not None:
        allowed = both(allowed, latent_mask(latent["noise_mask"], clean))
    return allowed


def both(first: Tensor, second: Tensor) -> Tensor:
    """Where two masks let a clip be edited; one of a plan has no values, and then neither has this."""
    device = first.device if first.is_meta else second.device
    return first.to(device) * second.to(device)


def mask_in_pixels(mask: Tensor, latent: dict[str, Any], stride: int) -> Tensor:
    """A mask of the latent as a native MASK: [F or B * F, H, W], float32."""
    video = mask[:, :, reference_frames(latent) :].amax(dim=1)
    large = video.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
    frames = large.repeat_interleave(TEMPORAL_STRIDE, dim=1)[:, TEMPORAL_STRIDE - 1 :]
    return frames.flatten(0, 1)


def _of_pixels(mask: Any, video: Tensor, stride: int) -> Tensor:
    advice = "Connect a MASK of the video's size, one for each frame or one for all."
    mask = tensor_of(mask, "mask", "a mask [frames, height, width]", advice).detach().cpu().float()
    batch, _, count, height, width = video.shape
    frames = video_frames(count)
    if has_values(mask) and not (torch.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1):
        raise InvalidInputError(
            "mask must have values from 0 (stays) to 1 (is edited), got "
            f"{float(mask.min()):g} to {float(mask.max()):g}. {advice}"
        )
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3 or len(mask) not in (1, frames, batch * frames):
        raise InvalidInputError(
            f"mask must be one picture, or one for each of the {frames} frames, got {list(mask.shape)}. {advice}"
        )
    size = (height * stride, width * stride)
    if has_values(mask) and mask.shape[1:] != size and mask.shape[1] >= size[0] and mask.shape[2] >= size[1]:
        mask = F.adaptive_max_pool2d(mask, size)  # a thin line in a large mask stays
    if mask.shape[1:] != size:
        mask = F.interpolate(mask[:, None], size=size, mode="bilinear")[:, 0]
    mask = F.max_pool2d(mask, stride)
    if len(mask) == 1:
        return mask[None, None].expand(1, 1, count, height, width)
    clips = mask.reshape(-1, 1, frames, height, width)
    rest = F.max_pool3d(clips[:, :, 1:], (TEMPORAL_STRIDE, 1, 1)) if count > 1 else clips[:, :, 1:]
    return torch.cat([clips[:, :, :1], rest], dim=2)
