"""What people are told of a run before it begins: settings that do not go together, and what has no effect in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ....common.log import logger
from ....common.shapes import latent_frames
from ....sampling.ask import Ask
from ....sampling.experts import Expert
from ....sampling.step import NoiseLevel
from ....sampling.windows import longest_window
from ...models import VideoModel
from ..asked import Sides
from ..experts import GuidedModel
from ..settings import SamplerSettings
from .facts import tell_advice
from .idle import warn_of_idle


def warn_of_run(
    settings: SamplerSettings,
    latent: Tensor,
    sides: Sides,
    experts: Mapping[Expert, GuidedModel],
    makers: Sequence[Expert],
    steps: Sequence[NoiseLevel],
    asked: Sequence[Sequence[Ask]],
) -> None:
    """Tells of settings that do not go together, or not with the video, and of what has no effect.

    Args:
        latent: [B, C, T, h, w], of the video.
        sides: the prompts.
        makers: who makes each step.
        steps: where each begins.
        asked: the questions of each.
    """
    warn_of_idle(experts, makers, steps, asked, sides)
    tell_advice(experts, settings, makers, steps)
    for model in dict.fromkeys(experts[maker].model for maker in makers):
        if _warn_of_places(model, latent):
            break


def _warn_of_places(model: VideoModel, latent: Tensor) -> bool:
    """Tells of a video whose last frames lie later in time than any that the model was trained on; whether it did."""
    scale, shift = model.policies.places.scale[0], model.policies.places.shift[0]
    if (scale, shift) == (1.0, 0.0):
        return False
    frames = longest_window(model.policies.windows, latent.shape[2])
    last, trained = shift + scale * (frames - 1), latent_frames(model.spec.family.trained_frames) - 1
    if last <= trained:
        return False
    logger.warning(
        "With this motion the video ends at the time of latent frame %.1f, and the model was trained up to %d: motion "
        "may repeat or fall apart. Make a shorter video, or less motion.", last, trained,
    )  # fmt: skip
    return True
