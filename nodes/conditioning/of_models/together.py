"""The values that only some models read, of every kind of model together."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....dit.branches.branch import Branch
from ....dit.conditioning.in_context import ContextClip
from ....dit.config import DiTConfig
from ....dit.inputs import ConditioningItem
from ...sockets.models import WanModel
from ..fun import fun_items, fun_keys, fun_steering
from ..in_context import context_clips
from .animate import animate_items, animate_keys, animate_references, animate_steering
from .subjects import subject_keys, subject_pictures


def model_keys(config: DiTConfig) -> frozenset[str]:
    """Their names, of those that a transformer reads."""
    return fun_keys(config) | animate_keys(config) | subject_keys(config)


def model_steering(values: dict[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers a model, see `check_inputs`."""
    return {**fun_steering(values), **animate_steering(values)}


def clips_beside(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ContextClip, ...]:
    """What the model sees beside a latent of the size of `samples` [B, C, T, h, w].

    Raises:
        InvalidInputError, PairingError: a value is not what it should be, or nothing for this model.
    """
    return (*context_clips(model, values, samples, side), *subject_pictures(model, values, samples, side))


def model_references(values: dict[str, Any]) -> int:
    """How many latent frames before the video they speak of."""
    return animate_references(values)


def model_items(model: WanModel, values: dict[str, Any], side: str) -> tuple[ConditioningItem, ...]:
    """What a model is given by them.

    Raises:
        InvalidInputError: a value is not what it should be.
    """
    return (*fun_items(model, values, side), *animate_items(model, values, side))
