"""One edit of a picture between native values: from CONDITIONING and IMAGE to IMAGE and LATENT."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...common.checking import instance_of, object_with
from ...common.errors import PairingError
from ...common.families import TINY
from ...common.log import logger
from ...engine.editing.picture import ENDS_FRAMES, WHOLE_FRAMES, check_picture_edit, run_picture_edit
from ...engine.memory import AUTOMATIC, MemorySettings
from ...engine.sampling.settings import SamplerSettings
from ...model_loading.pairing import check_image_input, check_pair
from ...model_loading.recognition.variants import CHRONO_EDIT
from ..options.memory import with_memory
from ..sockets.latents import native_latent
from ..sockets.models import WanModel, WanVAE
from .picture_clip import Instruction, Picture, ends_values


def edited_picture(
    model: WanModel,
    texts: Instruction,
    picture: Picture,
    settings: SamplerSettings,
    whole_steps: int,
    memory: MemorySettings | None,
) -> tuple[Tensor, dict[str, Any]]:
    """The edited IMAGE [1, H, W, 3], and the LATENT of the picture and what became of it.

    Args:
        whole_steps: how many of the first steps see the whole clip, see `run_picture_edit`.

    Raises:
        WanDirectorError: what of model, texts, picture and settings does not go together.
    """
    instance_of(model, WanModel, "model", "the model of Load Wan Model")
    instance_of(memory or AUTOMATIC, MemorySettings, "memory", "the settings of Wan Memory")
    object_with(picture.vae, "decode", "The VAE must be one that decodes", "Connect Load Wan VAE.")
    _check_model(model, picture.vae)
    texts.check()
    check_picture_edit(model, settings, whole_steps)
    picture = picture._replace(vae=with_memory(picture.vae, memory))
    blank = picture.blank(ENDS_FRAMES)
    whole = None
    if whole_steps:
        values = picture.values(WHOLE_FRAMES)
        whole = texts.clip(model, values, picture.blank(WHOLE_FRAMES))
        values = ends_values(values)
    else:
        values = picture.values(ENDS_FRAMES)
    ends = texts.clip(model, values, blank)
    made = run_picture_edit(model, ends, whole, settings, whole_steps, memory or AUTOMATIC)
    latent = native_latent(model, blank, made)
    return picture.vae.decode(latent["samples"])[:, -1], latent


def _check_model(model: WanModel, vae: Any) -> None:
    """Refuses what edits no picture, and says where nothing tells that a model does.

    Raises:
        PairingError: it has other inputs than an image-to-video model, or the VAE is not its own.
    """
    check_image_input(model.spec, has_image=True)
    config, name = model.spec.config, f"{model.file} ({model.spec.title})"
    is_other = config.control_channels or config.source_channels or config.branch_title is not None
    if is_other or not config.mask_channels or model.spec.family.given_in_latent:
        raise PairingError(
            f"{name} edits no pictures: ChronoEdit does, which is built as Wan 2.1 I2V 14B. Load "
            "chrono_edit_14B_fp16.safetensors."
        )
    if isinstance(vae, WanVAE):
        check_pair(model.spec, vae.spec)
    if model.spec.family is not TINY and not any(CHRONO_EDIT in note for note in model.spec.notes):
        logger.warning(
            "%s is not called ChronoEdit, and nothing inside a file tells it: if it is a plain image-to-video model, "
            "the last frame of a short clip is what it makes, hardly an edit.", name,
        )  # fmt: skip
