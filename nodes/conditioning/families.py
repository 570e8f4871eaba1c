"""What an entry of a native CONDITIONING carries for one family of models alone: the Fun family, and Wan-Animate-2."""

from __future__ import annotations

from typing import Any

from ...dit.branches.branch import Branch
from ...dit.branches.pose import PoseBranch
from ...dit.config import DiTConfig
from ...dit.inputs import ConditioningItem
from ..sockets.models import WanModel
from .animate2.reading import pose_items, pose_keys
from .fun import fun_items, fun_keys, fun_steering


def family_keys(config: DiTConfig) -> frozenset[str]:
    """The values that only a model like this one reads."""
    return fun_keys(config) | pose_keys(config)


def family_steering(values: dict[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The branches that the values steer, and their widths where they have one."""
    return fun_steering(values)


def family_items(model: WanModel, values: dict[str, Any], side: str) -> tuple[ConditioningItem, ...]:
    """What the values say to the model.

    Raises:
        InvalidInputError: one cannot be.
    """
    return (*fun_items(model, values, side), *pose_items(model, values, side))


def pictures_before(config: DiTConfig, references: int) -> int:
    """How many latent frames stand before the video, where a LATENT says `references`: native ones say nothing."""
    return max(references, 1) if config.branch(PoseBranch) is not None else references
