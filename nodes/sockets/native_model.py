"""What travels as MODEL where no ComfyUI runs the nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...common.checking import instance_of
from .models import WanModel

NATIVE_SHIFT = 8.0
"""Of every Wan model that no ModelSamplingSD3 comes after.

Source: ComfyUI v0.33.0, comfy/supported_models.py, WAN21_T2V.
"""


@dataclass(frozen=True, slots=True)
class NativeModel:
    """A video model with its LoRAs, and the shift of its schedules."""

    model: WanModel
    shift: float = NATIVE_SHIFT


def native_model(value: Any) -> NativeModel:
    """What came over a wire of the type MODEL.

    Raises:
        InvalidInputError: it is none.
    """
    instance_of(value, NativeModel, "model", "the model of Load Diffusion Model")
    return value
