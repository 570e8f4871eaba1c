"""What native nodes give HuMo, inside a CONDITIONING.

`audio_embed` has the features of a sound [1 or B, T, moments, groups, width] (see `dit.conditioning.audio.humo`), and
`reference_latents` a list whose last one is the raw latent [1 or B, C, 1, h, w] of who is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...common.checking import has_values, is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import TEMPORAL_STRIDE, video_frames
from ...dit.branches.audio.humo import GROUPS, WINDOW, HumoBranch
from ...dit.branches.branch import Branch
from ...dit.conditioning.audio.humo import ENCODER_LAYERS, SAMPLES_PER_MOMENT, HumoScene, moment_features
from ...dit.config import DiTConfig
from ...dit.inputs import ConditioningItem
from ..conditioning.reading import Side
from ..sockets.audio_encoders import audio_features
from ..sockets.models import WanModel

HUMO_KEYS = frozenset({"audio_embed", "reference_latents"})
"""The values that HuMo reads."""
_WIDTH = HumoBranch().width
_ADVICE = "Make it with Wan HuMo."


def scene_values(samples: Tensor, audio: Any, picture: Tensor | None) -> tuple[tuple[Side, dict[str, Any]], ...]:
    """What both sides of the guidance are given: the negative one silence, and nobody.

    Args:
        samples: of the latent to make, [B, C, T, h, w].
        audio: an AUDIO_ENCODER_OUTPUT of whisper large, or None.
        picture: the raw latent of who is seen, [1, C, 1, h, w], or None.

    Raises:
        InvalidInputError: the sound was heard through another encoder.
    """
    frames = samples.shape[2]
    heard = torch.zeros(1, frames, WINDOW, GROUPS, _WIDTH) if audio is None else _moments(audio, frames)
    seen = torch.zeros_like(samples[:1, :, :1]) if picture is None else picture
    return (
        ("positive", {"audio_embed": heard, "reference_latents": [seen]}),
        ("negative", {"audio_embed": torch.zeros_like(heard), "reference_latents": [torch.zeros_like(seen)]}),
    )


def _moments(audio: Any, latent_frames: int) -> Tensor:
    layers, samples = audio_features(audio, "audio")
    if len(layers) != ENCODER_LAYERS:
        raise InvalidInputError(
            f"audio has the features of {len(layers)} layers, and HuMo hears {ENCODER_LAYERS}. Encode it with "
            f"{HumoBranch.listens_through}."
        )
    heard, wanted = samples // SAMPLES_PER_MOMENT, video_frames(latent_frames)
    if heard <= wanted - TEMPORAL_STRIDE:
        logger.info("The sound ends after %d of %d frames: the rest is silent.", heard, wanted)
    return moment_features(layers, samples, latent_frames)


def humo_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads if it is HuMo; none if it is not."""
    return HUMO_KEYS if config.branch(HumoBranch) is not None else frozenset()


def humo_steering(config: DiTConfig, values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The values as what steers HuMo, see `check_inputs`; their sizes are left to `check_items`."""
    given = any(values.get(key) is not None for key in humo_keys(config))
    return {HumoBranch: None} if given else {}


def humo_items(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ConditioningItem, ...]:
    """What HuMo is given by the values of an entry; `samples`: of the latent to make, [B, C, T, h, w].

    Raises:
        InvalidInputError: a value is not what its key says.
    """
    branch = model.spec.config.branch(HumoBranch)
    if branch is None or not humo_steering(model.spec.config, values):
        return ()
    heard = _numbers(values.get("audio_embed"), f"The sound of the {side} conditioning")
    frames = samples.shape[2]
    if has_values(heard) and not heard[:, frames:].any():  # the native node gives a silent video more
        heard = heard[:, :frames]
    pictures, seen = values.get("reference_latents"), None
    if pictures is not None:
        name = f"The picture of who is seen in the {side} conditioning"
        if not isinstance(pictures, list | tuple) or not pictures:
            raise InvalidInputError(f"{name} must be a list of latents, got {kind_of(pictures)}. {_ADVICE}")
        seen = model.spec.family.normalize(_numbers(pictures[-1], name))
    return (HumoScene(heard, seen, branch.has_mask),)


def _numbers(value: Any, name: str) -> Tensor:
    tensor = tensor_of(value, name, "numbers of 5 dimensions", _ADVICE)
    if tensor.ndim != 5 or 0 in tensor.shape or not is_finite(tensor):
        raise InvalidInputError(f"{name} must be finite numbers of 5 dimensions, got {list(tensor.shape)}. {_ADVICE}")
    return tensor.float()
