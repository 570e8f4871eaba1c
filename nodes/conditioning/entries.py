"""The entries of a native CONDITIONING: written into, and read as one side of the guidance.

A native CONDITIONING is a list of [embedding, values]. Of the values we read and write `concat_latent_image` (raw VAE
latent [1, C, T, h, w] of the given frames, for Fun-Control behind that of the control video), `concat_mask` ([1, 4 or
1, T, h, w], 0 = given), `clip_vision_output`, for the Fun family those in `fun`, for Wan S2V those in
`talking.values`, for HuMo those in `talking.scene`, for Wan-Dancer those in `dancing.values`, for Bernini those in
`in_context`, for others those in `families`, and for VACE the lists `vace_frames` (raw latents [1, 32, T, h, w]),
`vace_mask` ([1, 64, T, h, w]) and `vace_strength`.
What native nodes have no value for is in `items`. How much an entry counts, and where, is read in `weights`, and when
in `travel`; all other values are in `keys`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...common.errors import PairingError
from ...dit.inputs import Conditioning, check_beside_clips
from ...model_loading.pairing import check_image_input, check_inputs, check_pair
from ...sampling.prompts import Prompts
from ..sockets.latents import reference_frames, video_samples
from ..sockets.models import TEXT_TAG, VAE_TAG, WanModel
from .clip_image import clip_features, clip_items, clip_width
from .families.known import branch_items, branch_keys, branch_steering, clips_beside, frames_before
from .items import check_items, items_at_shift, steered_by
from .keyframes import given_latent, keyframe_item
from .keys import UNWRITTEN, check_keys
from .reading import Side, entries_of, in_form, text_of
from .travel import RunOf, parts_of
from .vace import control_width, vace_items


def with_values(conditioning: list, values: dict[str, Any], side: Side | None = None) -> list:
    """A native CONDITIONING with `values` added to each entry; `side` is for messages."""
    return [[embedding, {**entry, **values}] for embedding, entry in in_form(conditioning, side)]


def with_values_in_range(conditioning: list, values: dict[str, Any], start: float, end: float, side: Side) -> list:
    """A native CONDITIONING in which `values` are there in a part of the run, from `start` to `end` of it (0..1).

    An entry whose own part is longer becomes up to three: before, in and after that.

    Source: ComfyUI v0.33.0, node_helpers.py, conditioning_set_values_with_timestep_range.
    """
    parts = []
    for embedding, entry in in_form(conditioning, side):
        first, last = entry.get("start_percent", 0.0), entry.get("end_percent", 1.0)
        inside = max(start, first), min(end, last)
        if inside[0] >= inside[1]:
            parts.append([embedding, entry])
            continue
        ranges = [((first, inside[0] - _APART), {}), (inside, values), ((inside[1] + _APART, last), {})]
        parts += [
            [embedding, {**entry, **added, "start_percent": begin, "end_percent": stop}]
            for (begin, stop), added in ranges
            if begin < stop
        ]
    return parts


_APART = 1e-5
"""Between two parts, since both count at their ends."""


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
    for embedding, values in entries_of(conditioning, side):
        check_keys(values, side, branch_keys(model.spec.config))
        prompts.append(_prompt(model, embedding, values, latent, side, shift))
        given.append(values)
    run, references = RunOf(side, shift, model.spec.family.fps), max(prompt.references for prompt in prompts)
    parts = tuple(parts_of(prompts, given, video_samples(latent), references, run=run))
    for prompt in (part.conditioning for part in parts):
        check_beside_clips(model.spec.config, prompt.in_context, prompt.travel, set(prompt.steering()))
    return Prompts(parts)


def _prompt(
    model: WanModel, embedding: Tensor, values: dict[str, Any], latent: dict[str, Any], side: Side, shift: float
) -> Conditioning:
    """An entry for the model, wherever it counts."""
    for tag in (TEXT_TAG, VAE_TAG):
        if tag in values:
            check_pair(model.spec, values[tag].spec)
    config = model.spec.config
    beside = clips_beside(model, values, video_samples(latent), side)
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
        steering={
            **control_width(values),
            **clip_width(clip),
            **branch_steering(config, values),
            **steered_by(values),
        },
    )
    keyframes = () if given is None else (keyframe_item(model, given, values, latent),)
    others, batch = (*branch_items(model, values, latent, side), *items_at_shift(values, shift)), len(samples)
    check_items(config, others, samples)
    for what, tensor in (("text embeddings", embedding), ("CLIP vision features", clip), ("given frames", given)):
        if tensor is not None and len(tensor) not in (1, batch):
            raise PairingError(
                f"The {side} conditioning has {len(tensor)} {what}, but the latent has {batch} videos. Give one for "
                "all, or one for each."
            )
    return Conditioning(
        text_of(model, embedding, side),
        (*keyframes, *clip_items(clip), *vace_items(model, values, samples), *others),
        frames_before(config, values, reference_frames(latent)),
        is_written=UNWRITTEN not in values,
        in_context=beside,
    )
