"""Pictures of subjects behind the video, for Phantom: a native CONDITIONING has them in `time_dim_concat`.

That is a raw latent [1 or B, C, n, h, w] of n pictures of the video's size, which the model sees as frames behind its
last one. Native guiders ask a third prompt, the negative one with blank pictures; ours blanks them by itself (the
formula phantom), and only knows such a prompt by its mark.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....common.checking import is_finite, tensor_of
from ....common.errors import InvalidInputError, PairingError
from ....common.log import logger
from ....common.model_names import ModelNames
from ....common.shapes import size_text
from ....dit.conditioning.characters.subjects import SubjectPicture
from ....dit.config import DiTConfig
from ....model_loading.recognition.variants import is_phantom
from ...sockets.latents import family_of, made_by
from ...sockets.models import WanModel
from ..keys import OWN
from ..reading import in_form

PICTURES = "time_dim_concat"
BLANK = f"{OWN}blank_pictures"
"""That the pictures of an entry are blank ones, for the guidance of a native sampler."""
MOST_SUBJECTS = 4
"""That Phantom was trained with."""
_ADVICE = "Make them with Wan Phantom or WanPhantomSubjectToVideo."


def with_pictures(vae: Any, conditioning: list, latent: Tensor) -> list:
    """A native CONDITIONING with the raw latent [1, C, n, h, w] of pictures behind the video.

    Raises:
        InvalidInputError: it is none, or has pictures already.
    """
    if any(PICTURES in entry for _embedding, entry in in_form(conditioning)):
        raise InvalidInputError(
            "The conditioning has pictures of subjects already, which these would replace. Give all to one Wan Phantom."
        )
    return [[embedding, {**entry, PICTURES: latent, **made_by(vae)}] for embedding, entry in conditioning]


def with_blank_pictures(vae: Any, conditioning: list, latent: Tensor) -> list:
    """The same with blank pictures, as many as `latent` has."""
    blank = family_of(vae).denormalize(torch.zeros_like(latent))
    return [[embedding, {**entry, BLANK: True}] for embedding, entry in with_pictures(vae, conditioning, blank)]


def subject_keys(config: DiTConfig) -> frozenset[str]:
    """The values that a transformer reads because it may be Phantom, which has the tensors of a plain one."""
    return frozenset() if config.image_channels else frozenset({PICTURES})


def subject_pictures(model: WanModel, values: dict[str, Any], samples: Tensor, side: str) -> tuple[SubjectPicture, ...]:
    """The pictures among the values of an entry, for a latent of the size of `samples` [B, C, T, h, w].

    Raises:
        InvalidInputError: they are none.
        PairingError: they are those of a video of another size, or of another VAE.
    """
    if values.get(PICTURES) is None or not subject_keys(model.spec.config):
        return ()
    name = f"The pictures of subjects of the {side} conditioning"
    latent = tensor_of(values[PICTURES], name, "a latent of 5 dimensions", _ADVICE)
    if latent.ndim != 5 or 0 in latent.shape or not is_finite(latent):
        raise InvalidInputError(
            f"{name} must be a latent of 5 dimensions and finite numbers, got {list(latent.shape)}. {_ADVICE}"
        )
    family, channels = model.spec.family, model.spec.config.out_channels
    if latent.shape[1] == channels and latent.shape[3:] != samples.shape[3:]:
        raise PairingError(
            f"{name} were prepared for a latent of {size_text(latent)}, but the latent to sample has "
            f"{size_text(samples)}. Prepare them for a video of the same size."
        )
    if not is_phantom(model.spec.notes):
        logger.warning(
            "%s (%s) gets pictures of subjects, but is not Phantom by its name: models that were not trained with them "
            "make something else of them.", model.file, model.spec.title,
        )  # fmt: skip
    shown = family.normalize(latent.float()) if latent.shape[1] == channels else latent
    pictures = tuple(SubjectPicture(each, number) for number, each in enumerate(shown.split(1, dim=2)))
    for picture in pictures:
        picture.check(model.spec.config, samples, ModelNames(f"{model.file} ({model.spec.title})"))
    return pictures
