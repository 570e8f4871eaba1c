"""What the values of an entry give a model because of its family: of each family, the module that reads its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ....dit.branches.audio.speech import SpeechBranch
from ....dit.branches.branch import Branch
from ....dit.conditioning.in_context import ClipBeside
from ....dit.config import DiTConfig
from ....dit.inputs import ConditioningItem
from ...sockets.latents import video_samples
from ...sockets.models import WanModel
from ...talking.values import SPEECH_KEYS, speech_items, speech_steering
from ..animate2.reading import pictures_before, pose_items, pose_keys
from ..fun import fun_items, fun_keys, fun_steering
from ..in_context import context_clips
from .animate import animate_items, animate_keys, animate_references, animate_steering
from .hearing import heard_items, heard_keys, heard_steering
from .scail import scail_items, scail_keys, scail_poses, scail_steering
from .subjects import subject_keys, subject_pictures


def branch_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads beside the usual ones."""
    if _speaks(config):
        return SPEECH_KEYS
    own = (fun_keys, scail_keys, animate_keys, pose_keys, subject_keys, heard_keys)
    return frozenset().union(*(keys(config) for keys in own))


def branch_steering(config: DiTConfig, values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers a model, see `check_inputs`; their sizes are left to `check_items`."""
    if _speaks(config):
        return speech_steering(values)
    own = (fun_steering, scail_steering, animate_steering, heard_steering)
    return {kind: width for steering in own for kind, width in steering(config, values).items()}


def branch_items(
    model: WanModel, values: dict[str, Any], latent: dict[str, Any], side: str
) -> tuple[ConditioningItem, ...]:
    """The values as conditioning for a LATENT.

    Raises:
        InvalidInputError: they are none.
        PairingError: they do not fit the model or the latent.
    """
    if _speaks(model.spec.config):
        return speech_items(model, values, video_samples(latent), side)
    return (
        *fun_items(model, values, side),
        *scail_items(model, values, latent, side),
        *animate_items(model, values, latent, side),
        *pose_items(model, values, side),
        *heard_items(model, values, video_samples(latent), side),
    )


def clips_beside(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ClipBeside, ...]:
    """The clips beside a video of the size of `samples` [B, C, T, h, w].

    Raises:
        InvalidInputError: they are none.
        PairingError: the model takes none, or they do not fit.
    """
    return (
        *context_clips(model, values, samples, side),
        *scail_poses(model, values, samples, side),
        *subject_pictures(model, values, samples, side),
    )


def frames_before(config: DiTConfig, values: Mapping[str, Any], stated: int) -> int:
    """How many latent frames stand before the video, where a LATENT says `stated`: native ones say nothing."""
    return max(pictures_before(config, stated), animate_references(config, values))


def _speaks(config: DiTConfig) -> bool:
    return config.branch(SpeechBranch) is not None
