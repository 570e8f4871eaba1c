"""What all samplers share: the seed, the latent that they start from, and the prompts with what the model follows."""

from __future__ import annotations

from typing import Any

import torch

from .....sampling.validation import MAX_SEED
from .... import standin as io
from ....conditioning.items import with_item
from ....conditioning.reading import in_form
from ....sockets.latents import STRIDE_KEY, video_samples
from ....sockets.native_model import NativeModel


def seed_input(name: str) -> Any:
    """The widget of the noise to start from."""
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip="The noise to start from; the same seed and settings give the same video.",
    )


def of_the_model(model: NativeModel, latent: dict[str, Any]) -> dict[str, Any]:
    """A LATENT as it is, or one of zeros brought to the channels and the size of the model's, as there.

    Source: ComfyUI v0.33.0, comfy/sample.py, fix_empty_latent_channels.
    """
    samples, family = video_samples(latent), model.model.spec.family
    batch, channels, frames, height, width = samples.shape
    made_for = latent.get(STRIDE_KEY, family.spatial_stride)
    if (channels, made_for) == (family.latent_channels, family.spatial_stride) or samples.any():
        return latent
    sides = (round(side * made_for / family.spatial_stride) for side in (height, width))
    rest = {key: value for key, value in latent.items() if key != STRIDE_KEY}
    return {**rest, "samples": torch.zeros(batch, family.latent_channels, frames, *sides)}


def with_followed(model: NativeModel, sides: tuple[list, list], latent: dict[str, Any]) -> tuple[list, list]:
    """Both CONDITIONINGs with what the model follows, for a LATENT."""
    positive, negative = sides
    for each in model.follows:
        item = each.item(video_samples(latent))
        positive, negative = (with_item(in_form(side), item) for side in (positive, negative))
    return positive, negative
