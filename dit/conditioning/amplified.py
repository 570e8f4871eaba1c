"""Given frames made more unlike those to make, for more motion."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...common.families import Family
from ..inputs import Conditioning, ConditioningItem
from .control_video import ControlVideo
from .start_image import KeyframeImages

LIMIT = 6.0
"""The largest value of the raw latent of a frame to make."""


def amplified(conditioning: Conditioning, factor: float, family: Family) -> Conditioning:
    """A prompt whose start image stands `factor` times as far from the grey frames that the model fills.

    Of each grey latent frame's difference from the first one, what varies over channels, rows and columns counts so
    much, and its mean once; the result is held within `LIMIT`. That is done on raw latents. Where the first frame is
    not given, nothing changes; other given frames do not either.

    Args:
        conditioning: of a whole clip.
        factor: 1 is off, 1.15 usual.
        family: of the model, for the scale of its latents.

    Source: princepainter/ComfyUI-PainterI2V nodes.py at commit 33810af.
    """
    if factor == 1.0:
        return conditioning
    return replace(conditioning, items=tuple(_changed(item, factor, family) for item in conditioning.items))


def can_be_amplified(conditioning: Conditioning) -> bool:
    """Whether the first frame of a clip is given in channels beside the latent, and others are not."""
    return any(_grey_after_first(frames) is not None for item in conditioning.items for frames in _keyframes(item))


def _keyframes(item: ConditioningItem) -> tuple[KeyframeImages, ...]:
    if isinstance(item, ControlVideo):
        return (item.keyframes,)
    return (item,) if isinstance(item, KeyframeImages) else ()


def _changed(item: ConditioningItem, factor: float, family: Family) -> ConditioningItem:
    for frames in _keyframes(item):
        grey = _grey_after_first(frames)
        if grey is None:
            continue
        latent = torch.where(grey[:, None, :, None, None], _further(frames.latent, factor, family), frames.latent)
        changed = replace(frames, latent=latent)
        return replace(item, keyframes=changed) if isinstance(item, ControlVideo) else changed
    return item


def _grey_after_first(frames: KeyframeImages) -> Tensor | None:
    """[1 or B, T], which latent frames are to make; None where the first one is not given, or all are."""
    if frames.mask is None or frames.mask.device.type == "meta":
        return None
    is_given = frames.mask.flatten(3).amax(dim=(1, 3)) > 0  # [1 or B, T]
    return ~is_given if bool(is_given[:, 0].all()) and not bool(is_given.all()) else None


def _further(latent: Tensor, factor: float, family: Family) -> Tensor:
    """All frames [B, C, T, h, w] of a normalised latent, moved away from the first one."""
    raw = family.denormalize(latent)
    first = raw[:, :, :1]
    difference = raw - first
    even = difference.mean(dim=(1, 3, 4), keepdim=True)
    return family.normalize((first + factor * (difference - even) + even).clamp(-LIMIT, LIMIT))
