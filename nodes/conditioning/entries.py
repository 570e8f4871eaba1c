"""The entries of a native CONDITIONING: written into, and read as one side of the guidance.

A native CONDITIONING is a list of [embedding, values]. Of the values we read and write `concat_latent_image` (raw VAE
latent [1, C, T, h, w] of the given frames, for Fun-Control behind that of the control video), `concat_mask` ([1, 4 or
1, T, h, w], 0 = given), `clip_vision_output`, for the Fun family those in `fun`, and for VACE the lists `vace_frames`
(raw latents [1, 32, T, h, w]), `vace_mask` ([1, 64, T, h, w]) and `vace_strength`. What native nodes have no value for
is in `items`. How much an entry counts, and where, is read in `weights`, and when in `travel`; all other values are in
`keys`.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from ...common.checking import is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError, PairingError
from ...dit.conditioning.text import pad_text
from ...dit.inputs import Conditioning
from ...model_loading.pairing import check_image_input, check_inputs, check_pair
from ...sampling.prompts import Prompts
from ..sockets.latents import reference_frames, video_samples
from ..sockets.models import TEXT_TAG, VAE_TAG, WanModel
from .clip_image import clip_features, clip_items, clip_width
from .fun import fun_items, fun_keys, fun_steering
from .items import check_items, own_items, steered_by
from .keyframes import given_latent, keyframe_item
from .keys import UNWRITTEN, check_keys
from .travel import RunOf, parts_of
from .vace import control_width, vace_items

Side = Literal["positive", "negative", "source", "source_negative"]

MAX_PROMPTS = 8
"""How many full prompts Conditioning (Concat) may join: the model was trained on one, and two or three still steer."""


def with_values(conditioning: list, values: dict[str, Any]) -> list:
    """A native CONDITIONING with `values` added to each entry."""
    return [[embedding, {**entry, **values}] for embedding, entry in conditioning]


def prompts_of(model: WanModel, conditioning: Any, latent: dict[str, Any], side: Side, shift: float) -> Prompts:
    """One side of the guidance, from a native CONDITIONING, checked against the model and the latent's size.

    Args:
        conditioning: one entry, or several that are averaged where more than one counts.
        latent: the LATENT to sample.
        side: which one, for messages.
        shift: of the schedule; timestep ranges are in parts of it.

    Raises:
        InvalidInputError: it is no conditioning, or carries a value that would have no effect.
        PairingError: text encoder, VAE, latent, given frames or CLIP features do not fit the model.
    """
    prompts, given = [], []
    for embedding, values in _entries(conditioning, side):
        check_keys(values, side, fun_keys(model.spec.config))
        prompts.append(_prompt(model, embedding, values, latent, side))
        given.append(values)
    run = RunOf(side, shift, model.spec.family.fps)
    return Prompts(tuple(parts_of(prompts, given, video_samples(latent), reference_frames(latent), run=run)))


def _entries(conditioning: Any, side: Side) -> list[tuple[Tensor, dict[str, Any]]]:
    """The entries of a CONDITIONING, each an embedding [1 or B, L, width] and its values."""
    expected, advice = "a list of [embedding, values]", "Connect Wan Text Encode or CLIP Text Encode."
    if not isinstance(conditioning, list | tuple) or not conditioning:
        got = "an empty list" if isinstance(conditioning, list | tuple) else kind_of(conditioning)
        raise InvalidInputError(f"The {side} conditioning must be {expected}, got {got}. {advice}")
    for entry in conditioning:
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[1], dict):
            raise InvalidInputError(
                f"The {side} conditioning must be {expected}, got a list with {kind_of(entry)}. {advice}"
            )
        embedding = tensor_of(entry[0], f"The text embedding of the {side} conditioning", "a tensor", advice)
        has_all = is_finite(embedding)
        if embedding.ndim != 3 or 0 in embedding.shape or not has_all:
            raise InvalidInputError(
                f"The text embedding of the {side} conditioning must be finite numbers [batch, tokens, width], got "
                f"{list(embedding.shape)}{'' if has_all else ' with NaN or infinity'}. {advice}"
            )
    return [(embedding, values) for embedding, values in conditioning]


def _prompt(
    model: WanModel, embedding: Tensor, values: dict[str, Any], latent: dict[str, Any], side: Side
) -> Conditioning:
    """An entry for the model, wherever it counts."""
    for tag in (TEXT_TAG, VAE_TAG):
        if tag in values:
            check_pair(model.spec, values[tag].spec)
    samples, given, clip = video_samples(latent), given_latent(model, values, side), clip_features(values, side)
    made_by = getattr(values.get("clip_vision_output"), "made_by", None)
    if made_by is not None:
        check_image_input(model.spec, given is not None)  # first: without a start image nobody asks for its features
        check_pair(model.spec, made_by.spec)
    check_inputs(
        model.spec,
        latent_channels=samples.shape[1],
        text_width=embedding.shape[-1],
        has_image=given is not None,
        steering={**control_width(values), **clip_width(clip), **fun_steering(values), **steered_by(values)},
    )
    keyframes = () if given is None else (keyframe_item(model, given, values, latent),)
    others, batch = (*fun_items(model, values, side), *own_items(values)), len(samples)
    check_items(model.spec.config, others, samples)
    for what, tensor in (("text embeddings", embedding), ("CLIP vision features", clip), ("given frames", given)):
        if tensor is not None and len(tensor) not in (1, batch):
            raise PairingError(
                f"The {side} conditioning has {len(tensor)} {what}, but the latent has {batch} videos. Give one for "
                "all, or one for each."
            )
    return Conditioning(
        _text(model, embedding, side),
        (*keyframes, *clip_items(clip), *vace_items(model, values, samples), *others),
        reference_frames(latent),
        is_written=UNWRITTEN not in values,
    )


def _text(model: WanModel, embedding: Tensor, side: Side) -> Tensor:
    """The embedding as the transformer reads it: filled up to its length, or longer where prompts were joined."""
    tokens = model.spec.config.text_tokens
    if embedding.shape[1] <= tokens:
        return pad_text(embedding.float(), tokens)
    if embedding.shape[1] > MAX_PROMPTS * tokens:
        raise InvalidInputError(
            f"The text embedding of the {side} conditioning has {embedding.shape[1]} tokens, as of "
            f"{embedding.shape[1] // tokens} prompts that were joined, and at most {MAX_PROMPTS} can be. Use "
            "Conditioning (Combine), or one text."
        )
    return embedding.float()
