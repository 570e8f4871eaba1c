"""From a model of ours to a native MODEL of the same weights."""

from __future__ import annotations

import torch

from ....common.errors import InvalidInputError
from ....engine.models import VideoModel
from ....memory.residency import Weights
from ..residence import ComfyResidence
from .model import bridged_model
from .patcher import BridgedPatcher


def native_model(video: VideoModel) -> BridgedPatcher:
    """A MODEL for ComfyUI's samplers, with the LoRAs of `video`; its weights are those of `video`, not a copy.

    Raises:
        PairingError: ComfyUI has no such kind of model.
    """
    residence = video.residence
    if not isinstance(residence, ComfyResidence):
        raise InvalidInputError(
            "The model was loaded outside of ComfyUI, whose memory manager does not know it. Load it with Load Wan "
            "Model in this workflow."
        )

    def make(weights: Weights) -> BridgedPatcher:
        return BridgedPatcher(bridged_model(video, weights), residence.device, torch.device("cpu"))

    return residence.known_as(BridgedPatcher, make).of(video)
