"""What a native MODEL is to our nodes: a video model of ours, and the shift of its schedules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...common.checking import instance_of
from ...dit.branches.pose import PoseBranch
from .models import WanModel

NATIVE_SHIFT = 8.0
"""Of every Wan model that no ModelSamplingSD3 comes after.

Source: ComfyUI v0.33.0, comfy/supported_models.py, WAN21_T2V.
"""


ANIMATE_2_SHIFT = 5.0
"""The same of Wan-Animate-2 (class WAN_Animate2 there)."""


@dataclass(frozen=True, slots=True)
class NativeModel:
    """A video model with its LoRAs, and the shift of its schedules, which in ComfyUI belongs to the MODEL.

    On the command line this is what travels as MODEL.
    """

    model: WanModel
    shift: float = NATIVE_SHIFT

    def with_attention(self, kernel: str) -> NativeModel:
        """The same weights, with another attention kernel."""
        return replace(self, model=replace(self.model, recipe=replace(self.model.recipe, attention=kernel)))


def as_native(model: WanModel) -> NativeModel:
    """A model as ComfyUI's own loaders give it, with the shift of its kind."""
    is_animate_2 = model.spec.config.branch(PoseBranch) is not None
    return NativeModel(model, ANIMATE_2_SHIFT if is_animate_2 else NATIVE_SHIFT)


def native_model(value: Any) -> NativeModel:
    """What came over a wire of the type MODEL on the command line.

    Raises:
        InvalidInputError: it is none.
    """
    instance_of(value, NativeModel, "model", "the model of Load Diffusion Model")
    return value
