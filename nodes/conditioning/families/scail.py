"""What native nodes give SCAIL and SCAIL-2: reference pictures, poses, coloured masks and the mode.

`reference_latents` is a list with the raw latents [1 or B, C, 1, h, w] of pictures, the main one first. The others have
1, frames, channels, height, width: `ref_mask_28ch` has the masks of the references, the main one's last, and zeros for
the frames of the video behind them; `driving_mask_28ch` has those of the poses. `pose_video_latent` is the raw latent
[1 or B, C, T, h / 2, w / 2] of the poses, and `ref_mask_flag` is false where persons of the video are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....common.checking import has_values, is_finite, kind_of, tensor_of
from ....common.errors import InvalidInputError, PairingError
from ....common.model_names import ModelNames
from ....dit.branches.branch import Branch
from ....dit.branches.scail import ScailBranch
from ....dit.conditioning.characters.scail import ANIMATION, REPLACEMENT, KeptFrames, ScailCharacter, ScailPose
from ....dit.config import DiTConfig
from ....dit.inputs import ConditioningItem
from ...sockets.latents import video_samples
from ...sockets.models import WanModel
from ..keyframes import given_mask

REFERENCES, POSE = "reference_latents", "pose_video_latent"
REFERENCE_MASK, POSE_MASK, ANIMATES = "ref_mask_28ch", "driving_mask_28ch", "ref_mask_flag"
SCAIL_KEYS = (REFERENCES, POSE, REFERENCE_MASK, POSE_MASK, ANIMATES)
_ADVICE = "Make it with Wan SCAIL or WanSCAILToVideo."


def scail_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads because it is a SCAIL."""
    return frozenset(SCAIL_KEYS if config.branch(ScailBranch) is not None else ())


def scail_steering(config: DiTConfig, values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers a model, see `check_inputs`; their sizes are left to `check_items`."""
    if config.branch(ScailBranch) is None:
        return {}
    is_given = any(values.get(key) is not None for key in (REFERENCES, POSE, POSE_MASK))
    return {ScailBranch: None} if is_given else {}


def scail_items(
    model: WanModel, values: dict[str, Any], latent: dict[str, Any], side: str
) -> tuple[ConditioningItem, ...]:
    """The references among the values of an entry, and which frames of a LATENT are kept; none for another model.

    Raises:
        InvalidInputError: they are none.
        PairingError: they do not fit the model or the latent.
    """
    branch = model.spec.config.branch(ScailBranch)
    if branch is None:
        return ()
    _check_mode(model, branch, values)
    samples = video_samples(latent)
    latents = _references(model, values, side)
    masks = _reference_masks(values, len(latents), samples.shape[2], side)
    places = ANIMATION if values.get(ANIMATES) in (None, True) else REPLACEMENT
    characters = [ScailCharacter(*both, places) for both in zip(latents, masks)]
    kept = given_mask(samples, values, latent)
    is_kept = branch.mask_channels and (not has_values(kept) or bool(kept.any()))
    return (*characters, KeptFrames(kept)) if is_kept else tuple(characters)


def scail_poses(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ScailPose, ...]:
    """The poses among the values of an entry, for a latent of the size of `samples` [B, C, T, h, w].

    Masks alone are no poses: they stay where the poses have their part of the steps.

    Raises:
        InvalidInputError: they are none.
        PairingError: they do not fit the model or the latent.
    """
    branch = model.spec.config.branch(ScailBranch)
    if branch is None or values.get(POSE) is None:
        return ()
    _check_mode(model, branch, values)
    latent = _checked(values[POSE], f"The pose video of the {side} conditioning")
    mask = values.get(POSE_MASK)
    if mask is not None:
        mask = _checked(mask, f"The mask of the pose video of the {side} conditioning").float().movedim(1, 2)
    is_of_model = latent.shape[1] == model.spec.family.latent_channels
    pose = ScailPose(model.spec.family.normalize(latent.float()) if is_of_model else latent, mask)
    pose.check(model.spec.config, samples, ModelNames(f"{model.file} ({model.spec.title})"))
    return (pose,)


def _check_mode(model: WanModel, branch: ScailBranch, values: Mapping[str, Any]) -> None:
    """Refuses what only SCAIL-2 takes for a model of the first version."""
    if branch.mask_channels:
        return
    has_masks = any(values.get(key) is not None for key in (REFERENCE_MASK, POSE_MASK))
    if has_masks or values.get(ANIMATES) not in (None, True):
        what = "coloured masks" if has_masks else "a person of the video to be replaced"
        raise PairingError(
            f"{model.file} ({model.spec.title}) is the first SCAIL, and the conditioning brings {what}, which SCAIL-2 "
            "takes. Remove the masks and set replacement_mode off, or choose a SCAIL-2 model."
        )


def _references(model: WanModel, values: Mapping[str, Any], side: str) -> list[Tensor]:
    """The normalised latents in the order in which they stand before the video."""
    latents, name = values.get(REFERENCES), f"A reference picture of the {side} conditioning"
    if latents is None:
        return []
    if not isinstance(latents, list | tuple):
        raise InvalidInputError(f"{name} must be in a list, got {kind_of(latents)}. {_ADVICE}")
    checked = [_checked(each, name).float() for each in latents]
    for each in checked:
        if each.shape[1:3] != (model.spec.family.latent_channels, 1):
            raise PairingError(
                f"{name} has a latent of {each.shape[1]} channels and {each.shape[2]} frames, but a picture has "
                f"{model.spec.family.latent_channels} and 1. {_ADVICE}"
            )
    return [model.spec.family.normalize(each) for each in (*checked[1:], *checked[:1])]


def _reference_masks(values: Mapping[str, Any], count: int, frames: int, side: str) -> list[Tensor | None]:
    """The mask of each reference in their order; the video has none."""
    masks = values.get(REFERENCE_MASK)
    if masks is None or not count:
        return [None] * count
    name = f"The mask of the references of the {side} conditioning"
    masks = _checked(masks, name).float().movedim(1, 2)
    if masks.shape[2] not in (count, count + frames):
        raise PairingError(
            f"{name} has {masks.shape[2]} frames, but of references and latent frames there are {count} + {frames}. "
            f"{_ADVICE}"
        )
    if has_values(masks) and bool(masks[:, :, count:].any()):
        raise InvalidInputError(
            f"{name} shows persons in frames of the video, where SCAIL-2 takes none. Set them to 0; poses have a mask "
            "of their own."
        )
    return [each.contiguous() for each in torch.split(masks[:, :, :count], 1, dim=2)]


def _checked(value: Any, name: str) -> Tensor:
    tensor = tensor_of(value, name, "numbers of 5 dimensions", _ADVICE)
    if tensor.ndim != 5 or 0 in tensor.shape or not is_finite(tensor):
        raise InvalidInputError(f"{name} must be finite numbers of 5 dimensions, got {list(tensor.shape)}. {_ADVICE}")
    return tensor
