"""What Stable Video Infinity 2 Pro gives a clip: the anchor picture and the end of the clip before, all in latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.checking import has_values
from ...common.errors import InvalidInputError, PairingError
from ...common.families import WAN_2_1, Family
from ...common.log import logger
from ...common.shapes import check_bounds, latent_frames, size_text, video_frames
from ..sockets.latents import reference_frames, video_samples
from ..sockets.models import MODEL_TAG, VAE_TAG


def continued_from(
    anchor: dict[str, Any], previous: dict[str, Any] | None, frames: int, motion_latents: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The conditioning values of a clip that goes on from another one, and the blank LATENT of it.

    The image channels hold the anchor, then the last latent frames of the clip before, then zeros as the model sees
    them, which is no picture's latent. The mask calls only the first latent frame known.

    Args:
        anchor: the LATENT of the picture that all clips keep to.
        previous: the sampled LATENT of the clip before; None for the first clip.
        frames: length of the clip, 1 + 4k.
        motion_latents: how many latent frames of the clip before are shown.

    Raises:
        InvalidInputError: they do not fit into each other or into the clip.
        PairingError: a latent of TI2V-5B, or of two families.

    Source: kijai/ComfyUI-KJNodes WanImageToVideoSVIPro (3f20054), vita-epfl/Stable-Video-Infinity.
    """
    start = _samples(anchor, "anchor_samples")
    parts, families = [start], {_family(anchor)}
    if previous is not None and motion_latents:
        parts.append(_end_of(_samples(previous, "prev_samples"), motion_latents, start))
        families.add(_family(previous))
    family = _one_of(families)
    known, total = sum(part.shape[2] for part in parts), latent_frames(frames)
    if known > total:
        raise InvalidInputError(
            f"The anchor and the motion latents are {known} latent frames, and a clip of {frames} frames has {total}. "
            f"Use fewer motion latents, or at least {video_frames(known)} frames."
        )
    batch = max(len(part) for part in parts)
    parts = [part.expand(batch, -1, -1, -1, -1) for part in parts]
    rest = start.new_zeros(batch, start.shape[1], total - known, *start.shape[3:])
    mask = torch.ones(1, 1, total, *start.shape[3:])
    mask[:, :, :1] = 0
    stride = family.spatial_stride
    check_bounds(start.shape[4] * stride, start.shape[3] * stride, frames, batch)
    tag = {VAE_TAG: anchor[VAE_TAG]} if VAE_TAG in anchor else {}
    values = {"concat_latent_image": torch.cat([*parts, family.denormalize(rest)], dim=2), "concat_mask": mask}
    return values | tag, {"samples": start.new_zeros(batch, start.shape[1], total, *start.shape[3:]), **tag}


def _samples(latent: dict[str, Any], name: str) -> Tensor:
    """The raw latent [B, C, T, h, w] without references.

    Raises:
        InvalidInputError: it is no video latent, or shows nothing.
        PairingError: it is one of TI2V-5B.
    """
    samples = video_samples(latent)[:, :, reference_frames(latent) :]
    if samples.shape[1] != WAN_2_1.latent_channels:
        raise PairingError(
            f"{name} has {samples.shape[1]} channels, and the image-to-video 14B models that SVI is made for have "
            f"{WAN_2_1.latent_channels}. Encode the picture with {WAN_2_1.vae_file}; for TI2V-5B use Wan Extend Video."
        )
    if has_values(samples) and not samples.any():
        raise InvalidInputError(
            f"{name} is a blank latent and shows nothing. Connect the picture from Wan Encode Video as anchor_samples, "
            "and the latent that Wan Sampler made of the clip before as prev_samples."
        )
    if latent.get("noise_mask") is not None:
        logger.info("%s comes with a noise mask, which says nothing about the next clip: it is left out.", name)
    return samples


def _family(latent: dict[str, Any]) -> Family | None:
    """The family that a latent says it is of; native nodes do not say it."""
    makers = [latent[tag] for tag in (MODEL_TAG, VAE_TAG) if tag in latent]
    return makers[0].spec.family if makers else None


def _one_of(families: set[Family | None]) -> Family:
    """The one family that latents are of; Wan 2.1 where none says it.

    Raises:
        PairingError: there are two.
    """
    named = families - {None}
    if len(named) > 1:
        titles = " and ".join(sorted(family.title for family in named if family is not None))
        raise PairingError(
            f"anchor_samples and prev_samples are of two kinds of models ({titles}). Encode the anchor with the VAE "
            "that belongs to the model."
        )
    return named.pop() or WAN_2_1 if named else WAN_2_1


def _end_of(previous: Tensor, motion_latents: int, anchor: Tensor) -> Tensor:
    """The last latent frames of the clip before.

    Raises:
        InvalidInputError: it has fewer, another size than the anchor, or another number of videos.
    """
    if previous.shape[3:] != anchor.shape[3:]:
        raise InvalidInputError(
            f"prev_samples has {size_text(previous)} and anchor_samples {size_text(anchor)}. Encode the anchor in the "
            "size of the clip before."
        )
    if len(previous) != len(anchor) and 1 not in (len(previous), len(anchor)):
        raise InvalidInputError(
            f"prev_samples holds {len(previous)} videos and anchor_samples {len(anchor)}. Give one anchor for all, or "
            "one for each."
        )
    if motion_latents > previous.shape[2]:
        raise InvalidInputError(
            f"{motion_latents} motion latents are asked for, and prev_samples has {previous.shape[2]} latent frames. "
            f"Use 1 to {previous.shape[2]}; 1 is what SVI was trained with."
        )
    return previous[:, :, -motion_latents:]
