"""Which models make a video in which order, and what a causal run cannot do."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.model_names import ModelNames
from ...dit.attention import every_token, resolve_pattern
from ...dit.inputs import check_causal
from ...memory.budget import gigabytes
from ...model_loading.recognition.variants import is_causal
from ...sampling.cache import NO_CACHE
from ...sampling.causal.order import AT_ONCE, CAUSAL, ChunkByChunk
from ...sampling.schedule import NoiseSchedule
from ...sampling.windows import WHOLE_CLIP
from ..models import VideoModel
from ..sampling.asked import Sides
from ..sampling.sights import Steps
from ..sampling.task import remembered_bytes


def check_order(model: VideoModel) -> None:
    """Refuses a causal model that would make all frames at once, and pairs of models that would go chunk by chunk.

    Raises:
        InvalidInputError: it is so.
    """
    if model.policies.order == AT_ONCE:
        if is_causal(model.spec.notes):
            raise InvalidInputError(
                f"{model.file} is by its header or name a causal model, which makes a video chunk by chunk; all frames "
                "at once would come out badly. Let it go through ", CAUSAL, "; or, if it is no causal model, give the "
                "file another name.",
            )  # fmt: skip
        return
    if model.low_noise is not None:
        raise InvalidInputError(
            "There are two experts, which would take turns in every chunk of ", CAUSAL, ". Take it away, or use one "
            "causal model such as causal_forcing-framewise.safetensors.",
        )  # fmt: skip


def check_all_at_once(model: VideoModel, what: str) -> None:
    """Refuses a model that goes chunk by chunk where all frames are needed at once.

    Args:
        what: needs them, in words.

    Raises:
        InvalidInputError: it is so.
    """
    if model.policies.order != AT_ONCE or is_causal(model.spec.notes):
        raise InvalidInputError(
            f"{what} changes all frames at once, and {model.file} makes them chunk by chunk, by its kind or by ",
            CAUSAL, ". Use a plain model.",
        )  # fmt: skip


def check_chunks(model: VideoModel, schedule: NoiseSchedule, sides: Sides) -> None:
    """Refuses what cannot be in a run that goes chunk by chunk.

    Raises:
        InvalidInputError, PairingError: it is so.
    """
    policies = model.policies
    if not isinstance(policies.order, ChunkByChunk):
        return
    names = ModelNames(f"{model.file} ({model.spec.title})")
    for side in sides.values():
        for part in side.parts:
            check_causal(model.spec.config, part.conditioning.in_context, names)
    if policies.windows != WHOLE_CLIP or policies.cache != NO_CACHE:
        other = "A cut into windows or tiles" if policies.windows != WHOLE_CLIP else "A step cache"
        raise InvalidInputError(
            f"{other} is on beside ", CAUSAL, ", and a chunk is seen as a whole in every step. Take one of them away; "
            "chunks have a window of their own.",
        )  # fmt: skip
    if resolve_pattern(model.recipe.attention) is not every_token:
        raise InvalidInputError(
            f"The attention {model.recipe.attention!r} is sparse in the video, and a chunk looks back at frames that "
            "lie outside of it. Choose attention 'sdpa'."
        )
    if schedule.steps and float(schedule.sigmas[-1]) > 0:
        raise InvalidInputError(
            f"The steps end at sigma {float(schedule.sigmas[-1]):g}, and each chunk has to be finished before the next "
            "one. Let them go down to 0."
        )


def tell_chunks(model: VideoModel, steps: Iterable[Steps], latent: Tensor) -> None:
    """Says what a causal model remembers of the video at most, and of one that is none by its name.

    Args:
        steps: that it makes; none of a run without any.
        latent: [B, C, T, h, w], of the video.
    """
    order, frames = model.policies.order, latent.shape[2]
    if not isinstance(order, ChunkByChunk):
        return
    if not is_causal(model.spec.notes):
        logger.warning(
            "%s makes the video chunk by chunk, but is no causal model by its name: models that were not trained so "
            "make something else of it.", model.file,
        )  # fmt: skip
    kept_bytes = sum(
        remembered_bytes(own, model.spec.config, latent.shape, model.placed.weights.itemsize) for own in steps
    )
    logger.info(
        "The model remembers at most %d of the %d latent frames at a time, in %s.",
        order.frames_kept(frames), frames, gigabytes(kept_bytes),
    )  # fmt: skip
