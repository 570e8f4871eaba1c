"""Where a prompt counts: timestep range, mask and strength of an entry of a native CONDITIONING."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.checking import has_values, is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError
from ...common.shapes import TEMPORAL_STRIDE, video_frames
from ...dit.inputs import Conditioning
from ...sampling.prompts import PromptPart, sigma_of_percent


def weighted(prompt: Conditioning, values: dict[str, Any], samples: Tensor, side: str, shift: float) -> PromptPart:
    """A prompt with the range, mask and strength that the values of its entry give it.

    Args:
        samples: [B, C, T, h, w], the latent to sample.
        side: "positive" or "negative", for messages.
        shift: of the schedule; a range is in parts of it.

    Raises:
        InvalidInputError: a value that cannot be.
    """
    first = sigma_of_percent(_number(values, "start_percent", 0.0, side, 1.0), shift)
    last = sigma_of_percent(_number(values, "end_percent", 1.0, side, 1.0), shift)
    weight = torch.full((1, 1, 1, 1, 1), _number(values, "strength", 1.0, side), dtype=torch.float32)
    if values.get("mask") is not None:
        weight = weight * _mask(values, samples, side) * _number(values, "mask_strength", 1.0, side)
    return PromptPart(prompt, first, last, weight)


def _mask(values: dict[str, Any], samples: Tensor, side: str) -> Tensor:
    """[1, 1, 1 or T, h, w]: one mask for all frames, or one for each frame of the video or of the latent."""
    name, advice = f"The mask of the {side} conditioning", "Make it with Conditioning (Set Mask)."
    mask = (
        tensor_of(values["mask"], name, "a mask [height, width] or one for each frame", advice).detach().cpu().float()
    )
    if not 2 <= mask.ndim <= 3 or 0 in mask.shape or not is_finite(mask) or _is_negative(mask):
        raise InvalidInputError(
            f"{name} must be a mask [frames, height, width] of numbers from 0 to 1, got {list(mask.shape)}. {advice}"
        )
    if values.get("set_area_to_bounds"):
        raise InvalidInputError(
            f"{name} is to cut the picture to its bounds, and a video is always sampled whole. Choose 'default' in "
            "Conditioning (Set Mask)."
        )
    frames, height, width = samples.shape[2:]
    pictures = mask.reshape(-1, 1, *mask.shape[-2:])
    if pictures.shape[-2:] != (height, width):
        pictures = F.interpolate(pictures, size=(height, width), mode="bilinear")
    masks = pictures.movedim(1, 0)[None]  # [1, 1, F, h, w]
    if masks.shape[2] in (1, frames):
        return masks
    if masks.shape[2] != video_frames(frames):
        raise InvalidInputError(
            f"{name} has {masks.shape[2]} frames, but the video has {video_frames(frames)}. Give one mask for all, or "
            "one for each frame."
        )
    # The first latent frame covers one frame of the video, each other one four.
    first, others = masks[:, :, :1], masks[:, :, 1:]
    return torch.cat([first, F.avg_pool3d(others, (TEMPORAL_STRIDE, 1, 1))], dim=2) if frames > 1 else first


def _is_negative(mask: Tensor) -> bool:
    return has_values(mask) and bool(mask.min() < 0)


def _number(values: dict[str, Any], key: str, usual: float, side: str, most: float = math.inf) -> float:
    value = values.get(key)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or math.isinf(value):
        got = value if isinstance(value, int | float) else kind_of(value)
        limit = f"from 0 to {most:g}" if most < math.inf else "of at least 0"
        raise InvalidInputError(
            f"'{key}' of the {side} conditioning must be a number {limit}, got {got}. Correct it in the node that sets "
            "it."
        )
    return float(value)
