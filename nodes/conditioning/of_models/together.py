"""The values that only some models read, of every kind of model together."""

from __future__ import annotations

from typing import Any

from ....dit.branches.branch import Branch
from ....dit.config import DiTConfig
from ....dit.inputs import ConditioningItem
from ...sockets.models import WanModel
from ..fun import fun_items, fun_keys, fun_steering
from .animate import animate_items, animate_keys, animate_references, animate_steering


def model_keys(config: DiTConfig) -> frozenset[str]:
    """Their names, of those that a transformer reads."""
    return fun_keys(config) | animate_keys(config)


def model_steering(values: dict[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers a model, see `check_inputs`."""
    return {**fun_steering(values), **animate_steering(values)}


def model_references(values: dict[str, Any]) -> int:
    """How many latent frames before the video they speak of."""
    return animate_references(values)


def model_items(model: WanModel, values: dict[str, Any], side: str) -> tuple[ConditioningItem, ...]:
    """What a model is given by them.

    Raises:
        InvalidInputError: a value is not what it should be.
    """
    return (*fun_items(model, values, side), *animate_items(model, values, side))
