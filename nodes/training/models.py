"""The models that a training is given over wires."""

from __future__ import annotations

from typing import Any

from ...common.checking import instance_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...engine.memory import AUTOMATIC
from ...engine.models import VideoModel
from ...tuning.run import TrainingModels
from ..sockets.models import WanTextEncoder, WanVAE


def training_models(model: Any, text_encoder: Any, vae: Any) -> TrainingModels:
    """The models of a training.

    Raises:
        InvalidInputError: they come from other loaders, or the model is not one alone.
    """
    instance_of(model, VideoModel, "model", "Load Wan Model")
    instance_of(text_encoder, WanTextEncoder, "text_encoder", "Load Wan Text Encoder")
    instance_of(vae, WanVAE, "vae", "Load Wan VAE")
    if model.loras:
        raise InvalidInputError(
            f"{model.file} comes with {len(model.loras)} LoRA{'' if len(model.loras) == 1 else 's'}, and a LoRA is "
            "trained on a model alone. Connect Load Wan Model itself."
        )
    if model.low_noise is not None:
        raise InvalidInputError(
            "Wan Two Experts gives two models, and they are trained one after the other. Connect one of them: that for "
            "high noise with its lowest, that for low noise with its highest (0.875 for T2V-A14B, 0.9 for I2V-A14B)."
        )
    if not text_encoder.memory == vae.memory == AUTOMATIC:
        logger.warning("Wan Memory has no effect on a training yet: its clips are encoded as auto does.")
    return TrainingModels(model, text_encoder.placed, vae.placed)
