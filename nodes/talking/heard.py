"""What both sides of the guidance hear, for the nodes of Wan S2V and of HuMo."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.log import logger
from ...common.shapes import video_frames
from ...dit.conditioning.audio.speech import speech_features, speech_latent_frames
from ..conditioning.entries import with_values
from ..conditioning.reading import Side
from ..sockets.audio_encoders import audio_features
from .scene import scene_values


def heard_features(audio: Any, latent_frames: int, first: int) -> Tensor:
    """What is heard in a chunk that begins with the latent frame `first` of its video: [1, layers, width, 4 T].

    Raises:
        InvalidInputError: these are no features of a sound.
    """
    layers = audio_features(audio, "audio").layers
    needed = speech_latent_frames(layers[0].shape[1])
    if first >= needed:
        logger.warning(
            "The sound ends after %d frames, before this chunk begins (frame %d): nobody speaks in it.",
            video_frames(needed), video_frames(first + 1),
        )  # fmt: skip
    elif needed < first + latent_frames:
        logger.info(
            "The sound ends after %d frames and this chunk after %d: nobody speaks in the rest.", video_frames(needed),
            video_frames(first + latent_frames),
        )  # fmt: skip
    return speech_features(layers, latent_frames, first)


def both_sides(positive: list, negative: list, values: dict[str, Any], heard: Tensor | None) -> list[list]:
    """Both native CONDITIONINGs with what is given to a speech-to-video model; the negative one hears silence."""
    silent = None if heard is None else torch.zeros_like(heard)
    sounds = ({} if each is None else {"audio_embed": each} for each in (heard, silent))
    prompts: tuple[tuple[Side, list], ...] = (("positive", positive), ("negative", negative))
    return [with_values(side, values | sound, name) for (name, side), sound in zip(prompts, sounds)]


def humo_sides(positive: list, negative: list, samples: Tensor, audio: Any, picture: Tensor | None) -> list[list]:
    """Both native CONDITIONINGs with what is given to HuMo; arguments and errors as `scene_values`."""
    prompts = {"positive": positive, "negative": negative}
    return [with_values(prompts[side], values, side) for side, values in scene_values(samples, audio, picture)]
