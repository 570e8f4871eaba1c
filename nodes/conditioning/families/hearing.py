"""What the values of an entry give models that hear a sound with pictures of their own beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ....dit.branches.branch import Branch
from ....dit.config import DiTConfig
from ....dit.inputs import ConditioningItem
from ...dancing.values import dance_items, dance_keys, dance_steering
from ...sockets.models import WanModel
from ...talking.scene import humo_items, humo_keys, humo_steering


def heard_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads if it is one of these; none if it is not."""
    return humo_keys(config) | dance_keys(config)


def heard_steering(config: DiTConfig, values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers it, see `check_inputs`; their sizes are left to `check_items`."""
    return humo_steering(config, values) | dance_steering(config, values)


def heard_items(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ConditioningItem, ...]:
    """What it is given by the values of an entry; `samples`: of the latent to make, [B, C, T, h, w].

    Raises:
        InvalidInputError: a value is not what its key says.
    """
    return (*humo_items(model, values, samples, side), *dance_items(model, values, samples, side))
