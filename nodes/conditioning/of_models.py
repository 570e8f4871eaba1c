"""The values of a CONDITIONING that only some models read: those of the Fun family, and of Wan S2V."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...dit.branches.audio.speech import SpeechBranch
from ...dit.branches.branch import Branch
from ...dit.config import DiTConfig
from ...dit.inputs import ConditioningItem
from ..sockets.models import WanModel
from ..talking.values import SPEECH_KEYS, speech_items, speech_steering
from .fun import fun_items, fun_keys, fun_steering


def own_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads beside those that all do."""
    return SPEECH_KEYS if _speaks(config) else fun_keys(config)


def own_steering(config: DiTConfig, values: dict[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers a model, see `check_inputs`; their sizes are left to `check_items`."""
    return speech_steering(values) if _speaks(config) else fun_steering(values)


def items_of_model(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ConditioningItem, ...]:
    """What steers a model by these values of an entry; `samples`: of the latent to make.

    Raises:
        InvalidInputError: a value is not what its key says.
    """
    if _speaks(model.spec.config):
        return speech_items(model, values, samples, side)
    return fun_items(model, values, side)


def _speaks(config: DiTConfig) -> bool:
    return config.branch(SpeechBranch) is not None
