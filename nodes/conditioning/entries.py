"""The entries of a native CONDITIONING: written into, and read as one side of the guidance.

A native CONDITIONING is a list of [embedding, values]. Of the values we read and write `concat_latent_image` (raw VAE
latent [1, C, T, h, w] of the given frames), `concat_mask` ([1, 4 or 1, T, h, w], 0 = given), `clip_vision_output`, and
for VACE the lists `vace_frames` (raw latents [1, 32, T, h, w]), `vace_mask` ([1, 64, T, h, w]) and `vace_strength`.
"""

from __future__ import annotations

from typing import Any

from ...common.errors import InvalidInputError
from ...dit.conditioning.clip_image import ClipImage
from ...dit.conditioning.text import pad_text
from ...dit.inputs import Conditioning
from ...model_loading.pairing import check_image_input, check_inputs, check_pair
from ..models import TEXT_TAG, VAE_TAG, WanModel
from ..sockets import video_samples
from .keyframes import keyframe_item
from .vace import vace_items


def with_values(conditioning: list, values: dict[str, Any]) -> list:
    """A native CONDITIONING with `values` added to each entry."""
    return [[embedding, {**entry, **values}] for embedding, entry in conditioning]


def model_conditioning(model: WanModel, conditioning: list, latent: dict[str, Any]) -> Conditioning:
    """One side of the guidance, from a native CONDITIONING, checked against the model and the latent's size.

    Raises:
        InvalidInputError: the conditioning is a combination of several.
        PairingError: text encoder, VAE, latent, given frames or CLIP features do not fit the model.
    """
    if len(conditioning) != 1:
        raise InvalidInputError(
            f"The sampler takes one prompt on each side, got a combination of {len(conditioning)}. Join them into "
            "one text."
        )
    embedding, values = conditioning[0]
    for tag in (TEXT_TAG, VAE_TAG):
        if tag in values:
            check_pair(model.spec, values[tag].spec)
    samples, given, clip = video_samples(latent), values.get("concat_latent_image"), values.get("clip_vision_output")
    if getattr(clip, "made_by", None) is not None:
        check_image_input(model.spec, given is not None)  # first: without a start image nobody asks for its features
        check_pair(model.spec, clip.made_by.spec)
    check_inputs(
        model.spec,
        latent_channels=samples.shape[1],
        text_width=embedding.shape[-1],
        has_image=given is not None,
        clip_width=None if clip is None else clip.penultimate_hidden_states.shape[-1],
        has_control=bool(values.get("vace_frames")),
    )
    text = pad_text(embedding.float(), model.spec.config.text_tokens)
    keyframes = () if given is None else (keyframe_item(model, given, values.get("concat_mask"), samples),)
    clip_image = () if clip is None else (ClipImage(clip.penultimate_hidden_states.float()),)
    return Conditioning(text, (*keyframes, *clip_image, *vace_items(model, values, samples)))
