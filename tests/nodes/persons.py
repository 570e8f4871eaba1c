"""Persons in videos and on pictures, as masks and tracks."""

from __future__ import annotations

import torch

from .conftest import call


def person(frames: int, left: int = 10, height: int = 96, width: int = 64) -> torch.Tensor:
    """A mask of somebody who walks to the right."""
    mask = torch.zeros(frames, height, width)
    for frame in range(frames):
        mask[frame, 20:80, left + frame : left + frame + 12] = 1
    return mask


USUAL_MASKS = {"colour": "next", "replacement_mode": False, "sort_by": "left to right", "persons": ""}


def masks(frames: int = 9, pictures: int = 1, replaces: bool = False, persons: int = 1):
    """Coloured masks of so many persons, one node for each."""
    found: dict[str, torch.Tensor] = {}
    for number in range(persons):
        own = {"pose_mask": person(frames, 2 + 22 * number), "reference_mask": person(pictures, 30 - 22 * number)}
        shown = call("ColouredMasks", **{**USUAL_MASKS, "replacement_mode": replaces}, **own, **found)
        found = dict(zip(("pose_video_mask", "reference_image_mask"), shown))
    return found


def track(masks: torch.Tensor, size=None) -> dict:
    """As SAM3's nodes pack masks [F, N, H, W]."""
    bits = (masks > 0).unflatten(-1, (-1, 8)) * (1 << torch.arange(8))
    height, width = masks.shape[-2:]
    return {
        "packed_masks": bits.sum(-1).to(torch.uint8), "orig_size": size or (height, width), "n_frames": len(masks),
        "scores": [],
    }  # fmt: skip


def walkers() -> torch.Tensor:
    """Three persons: 0 on the right, large; 1 on the left; 2 comes later."""
    masks = torch.zeros(5, 3, 16, 32)
    masks[:, 0, 2:14, 20:30] = 1
    masks[:, 1, 4:10, 2:6] = 1
    masks[2:, 2, 4:10, 10:14] = 1
    return masks
