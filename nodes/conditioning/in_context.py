"""Clips beside the video, for Bernini-R: a native CONDITIONING holds their raw latents in `context_latents`.

Native nodes say neither their ids, which are 1, 2, 3, ... there, nor which of them is edited: the first, if it has the
size of the video. Ours say both, in `wan_director_context`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ...common.checking import is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError, PairingError
from ...common.log import logger
from ...common.model_names import ModelNames
from ...dit.conditioning.in_context import ContextClip
from ...model_loading.recognition.variants import is_bernini
from ..sockets.latents import made_by
from ..sockets.models import WanModel
from .keys import OWN
from .reading import in_form

CLIPS_KEY = "context_latents"
ROLES_KEY = f"{OWN}context"
_ADVICE = "Make it with Wan Bernini Conditioning or BerniniConditioning."


class ClipRole(NamedTuple):
    """The id of a clip, and whether it is the source that is edited."""

    source_id: float
    is_source: bool


def with_clips(vae: Any, conditioning: list, latents: Sequence[Tensor], roles: Sequence[ClipRole]) -> list:
    """A native CONDITIONING with clips: raw latents [1, C, T, h, w], and what each is.

    Raises:
        InvalidInputError: it is none, or has clips already.
    """
    if any(CLIPS_KEY in entry for _embedding, entry in in_form(conditioning)):
        raise InvalidInputError(
            "The conditioning has source videos or references already, which these would replace. Give all to one Wan "
            "Bernini Conditioning."
        )
    values = {CLIPS_KEY: list(latents), ROLES_KEY: tuple(roles)} | made_by(vae)
    return [[embedding, {**entry, **values}] for embedding, entry in conditioning]


def context_clips(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[ContextClip, ...]:
    """The clips among the values of an entry, for a latent of the size of `samples` [B, C, T, h, w].

    Raises:
        InvalidInputError: they are none.
        PairingError: the model takes none, or they are those of another VAE.
    """
    latents = values.get(CLIPS_KEY)
    if latents is None:
        return ()
    name = f"A source video or reference of the {side} conditioning"
    if not isinstance(latents, list | tuple):
        raise InvalidInputError(f"{name} must be in a list, got {kind_of(latents)}. {_ADVICE}")
    checked = [_checked(each, name) for each in latents]
    _check_model(model)
    roles = values.get(ROLES_KEY) or ()
    if len(roles) != len(checked):
        roles = [
            ClipRole(number + 1.0, not number and _is_of_video(each, samples)) for number, each in enumerate(checked)
        ]
    normalize, channels = model.spec.family.normalize, model.spec.config.out_channels
    clips = tuple(
        ContextClip(normalize(each.float()) if each.shape[1] == channels else each, *role)
        for each, role in zip(checked, roles)
    )
    for clip in clips:
        clip.check(model.spec.config, samples, ModelNames(f"{model.file} ({model.spec.title})"))
    return clips


def _is_of_video(latent: Tensor, samples: Tensor) -> bool:
    return latent.shape[3:] == samples.shape[3:] and latent.shape[2] in (1, samples.shape[2])


def _check_model(model: WanModel) -> None:
    """Refuses a model of another kind than text to video, and tells of one that is not Bernini by its name."""
    name = f"{model.file} ({model.spec.title})"
    if model.spec.family.given_in_latent or model.spec.config.image_channels:
        raise PairingError(
            f"{name} takes no source video or references of Bernini. Choose the two experts of Bernini-R, such as "
            "wan2.2_bernini_r_high_noise_fp8_scaled.safetensors, or remove what gives them."
        )
    if not is_bernini(model.spec.notes):
        logger.warning(
            "%s gets a source video or references of Bernini, but is not Bernini-R by its name: models that were not "
            "trained with them make something else of them.", name,
        )  # fmt: skip


def _checked(value: Any, name: str) -> Tensor:
    tensor = tensor_of(value, name, "a latent of 5 dimensions", _ADVICE)
    if tensor.ndim != 5 or 0 in tensor.shape or not is_finite(tensor):
        raise InvalidInputError(
            f"{name} must be a latent of 5 dimensions and finite numbers, got {list(tensor.shape)}. {_ADVICE}"
        )
    return tensor
