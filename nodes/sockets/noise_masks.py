"""What a native LATENT says beside its samples of how to sample it: `noise_mask` and `batch_index`.

A `noise_mask` is 1 where the video is made anew and 0 where it is kept, at any size: [H, W], [F, H, W], [F, 1, H, W]
(its pictures are frames) or [B, 1, T, h, w]. `batch_index` numbers the videos of a batch by the noise of the seed that
each starts from.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.checking import has_values, kind_of, tensor_of
from ...common.errors import InvalidInputError
from ...common.shapes import LatentShape
from ...dit.branches.scail import ScailBranch
from ...sampling.given import NOTHING_GIVEN, CleanRegion, Given, GivenFrames, HeldRegion, NoisyRegion
from ...sampling.noise import seeded_noise
from .models import WanModel

MAX_BATCH_INDEX = 4095
"""ComfyUI's largest batch is 4096; the noises before a number are all drawn."""


def starting_noise(latent: dict[str, Any], clean: Tensor, seed: int) -> Tensor:
    """The noise that a LATENT starts from, [B, C, T, h, w], float32, CPU; `clean` is its `model_latent`.

    Raises:
        InvalidInputError: a bad seed, or a `batch_index` that does not number the videos.
    """
    shape, batch = LatentShape(*clean.shape[1:]), len(clean)
    return seeded_noise(seed, shape, batch, batch_index_of(latent, batch))


def batch_index_of(latent: dict[str, Any], batch: int) -> tuple[int, ...] | None:
    """The numbers of a LATENT's videos among the noises of a seed; None where it has none.

    Raises:
        InvalidInputError: its `batch_index` does not number the videos.
    """
    indices = latent.get("batch_index")
    return None if indices is None else _checked_indices(indices, batch)


def given_of(model: WanModel, latent: dict[str, Any], clean: Tensor, noise: Tensor) -> Given:
    """What the noise mask of a LATENT keeps.

    Args:
        clean: its `model_latent`.
        noise: what is mixed into the part that is kept, most often its `starting_noise`.

    Raises:
        InvalidInputError: the mask is none.
    """
    if latent.get("noise_mask") is None:
        return NOTHING_GIVEN
    mask = latent_mask(latent["noise_mask"], clean)
    if model.spec.family.given_in_latent:
        frames = _whole_frames(mask)
        return CleanRegion(clean, mask) if frames is None else GivenFrames(clean, frames)
    if has_values(mask) and mask.eq(1).all():
        return NOTHING_GIVEN
    scail = model.spec.config.branch(ScailBranch)
    is_told = scail is not None and scail.mask_channels > 0  # see `conditioning.scail.KeptFrames`
    return HeldRegion(clean, mask) if is_told else NoisyRegion(clean, mask, noise)


def latent_mask(mask: Any, latent: Tensor) -> Tensor:
    """A native noise mask at the size of `latent` [B, C, T, h, w]: [1 or B, 1 or C, T, h, w], float32.

    Source: comfyanonymous/ComfyUI comfy/sampler_helpers.py, prepare_mask, at commit 783545f.

    Raises:
        InvalidInputError: no mask, or values that are not in 0..1.
    """
    advice = "Make it with Set Latent Noise Mask, or remove it."
    mask = tensor_of(mask, "The noise mask of the latent", "a mask [height, width] or one for each frame", advice)
    mask = mask.detach().cpu().float()
    if not 2 <= mask.ndim <= 5 or 0 in mask.shape:
        raise InvalidInputError(
            "The noise mask of the latent must be a mask [height, width], or [batch, 1, frames, height, width], got "
            f"{list(mask.shape)}. {advice}"
        )
    if has_values(mask) and not (torch.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1):
        raise InvalidInputError(
            "The noise mask of the latent must have values from 0 (keep) to 1 (make anew), got "
            f"{float(mask.min()):g} to {float(mask.max()):g}. {advice}"
        )
    if mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])
    batch, channels = latent.shape[:2]
    if mask.shape[1] not in (1, channels) or batch % len(mask):
        raise InvalidInputError(
            f"The noise mask of the latent has the shape {list(mask.shape)}, but the latent has {batch} videos of "
            f"{channels} channels. Give one mask for all, or one for each video. {advice}"
        )
    mask = F.interpolate(mask, size=latent.shape[2:], mode="trilinear")
    return mask if len(mask) == 1 else mask.repeat(batch // len(mask), 1, 1, 1, 1)


def _whole_frames(mask: Tensor) -> Tensor | None:
    """Which latent frames are kept, [T], where each is kept or made as a whole; else None."""
    if not has_values(mask):
        return None
    low, high = mask.amin((0, 1, 3, 4)), mask.amax((0, 1, 3, 4))
    is_whole = low.eq(high).all() and (low.eq(0) | low.eq(1)).all()
    return low.eq(0) if is_whole else None


def _checked_indices(indices: Any, batch: int) -> tuple[int, ...]:
    advice = "Remove it with Latent Batch Seed Behavior, set to random."
    try:
        numbers = tuple(operator.index(index) for index in indices)
    except TypeError:
        raise InvalidInputError(
            f"The batch_index of the latent must be a list of whole numbers, got {kind_of(indices)}. {advice}"
        ) from None
    if len(numbers) != batch:
        raise InvalidInputError(
            f"The batch_index of the latent numbers {len(numbers)} videos, but the latent has {batch}. {advice}"
        )
    if min(numbers) < 0 or max(numbers) > MAX_BATCH_INDEX:
        raise InvalidInputError(
            f"The batch_index of the latent must number videos from 0 to {MAX_BATCH_INDEX}, got "
            f"{min(numbers)} to {max(numbers)}. {advice}"
        )
    return numbers
