"""One edit of a picture: a short clip that begins with it and ends with what it becomes.

Source: ChronoEdit, arXiv 2510.04290; huggingface/diffusers src/diffusers/pipelines/chronoedit/pipeline_chronoedit.py
and src/diffusers/models/transformers/transformer_chronoedit.py at v0.42.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ...common.errors import InvalidInputError
from ...dit.rope import AS_TRAINED, TokenPlaces
from ...sampling.cache import NO_CACHE
from ...sampling.prompts import OneSide, as_prompts
from ...sampling.windows import WHOLE_CLIP, SpatialTiles, Windows
from ..causal.checks import check_all_at_once
from ..memory import AUTOMATIC, MemorySettings
from ..models import VideoModel, with_policies
from ..sampling.asked import Sides
from ..sampling.sample import run_sampler
from ..sampling.settings import SamplerSettings
from .reasoned import run_reasoned

WHOLE_FRAMES, ENDS_FRAMES = 29, 5
"""Of the clip: as the model thinks it through, 8 latent frames; and of the first and the last of these alone."""
ENDS_PLACES = TokenPlaces(scale=(7.0, 1.0, 1.0))
"""Where the two latent frames lie in time: as far from each other as in the whole clip."""


class PictureClip(NamedTuple):
    """A clip that begins with the picture: what it is to become, what to avoid, and the latent to start from.

    `latent`: [B, C, T, h, w], zeros.
    """

    positive: OneSide
    negative: OneSide
    latent: Tensor

    @property
    def sides(self) -> Sides:
        """With which the model is asked."""
        return {"positive": as_prompts(self.positive), "negative": as_prompts(self.negative)}


def run_picture_edit(
    model: VideoModel,
    ends: PictureClip,
    whole: PictureClip | None,
    settings: SamplerSettings,
    whole_steps: int = 0,
    memory: MemorySettings = AUTOMATIC,
) -> Tensor:
    """The picture and what it becomes: [B, C, 2, h, w], normalised, float32, CPU.

    Args:
        ends: a clip of `ENDS_FRAMES`.
        whole: one of `WHOLE_FRAMES`, with which the first `whole_steps` steps are made; None where there are none.
        memory: how much of the device to use; when it runs out all the same, less of the model stays on it.

    Raises:
        InvalidInputError: values that cannot work together.
        OutOfMemory: the picture does not fit, even with all blocks swapped.
        NumericalError: the model gives values that are not finite.
    """
    check_picture_edit(model, settings, whole_steps)
    model = with_policies(model, lambda policies: replace(policies, places=ENDS_PLACES))
    if whole is None or not whole_steps:
        return run_sampler(model, ends.positive, ends.negative, ends.latent, settings, memory=memory)
    return run_reasoned(model, ends.sides, whole.sides, whole.latent, settings, whole_steps, memory)


def check_picture_edit(model: VideoModel, settings: SamplerSettings, whole_steps: int) -> None:
    """Refuses what would have no place in an edit of a picture, before anything is encoded.

    Raises:
        InvalidInputError: the sentence about it.
    """
    check_all_at_once(model, "An edit of a picture")
    steps = settings.noise_schedule().steps
    if not 0 <= whole_steps <= steps:
        raise InvalidInputError(f"{whole_steps} of {steps} steps cannot reason. Use 0 (none) to {steps}.")
    policies = model.policies
    parts = _parts(policies.windows)
    if parts:
        raise InvalidInputError(
            f"{parts.capitalize()} are on, but a picture is edited as the last frame of a clip that is seen as a "
            f"whole. Take the {parts} away."
        )
    if policies.places != AS_TRAINED:
        raise InvalidInputError(
            "The time of the model is scaled already, and an edit of a picture does so itself. Take the motion away."
        )
    if whole_steps and policies.cache != NO_CACHE:
        raise InvalidInputError(
            "A step cache is on, but after its reasoning the model sees another clip, for which no answer of before "
            "stands. Take the step cache away, or reason in no step."
        )


def _parts(windows: Windows) -> str:
    """The word for what a clip is seen in; none where it is seen as a whole."""
    if not isinstance(windows, SpatialTiles):
        return "" if windows == WHOLE_CLIP else "windows"
    return "tiles" if windows.over_time == WHOLE_CLIP else "tiles and windows"
