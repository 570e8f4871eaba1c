"""One edit between native values: from LATENT and CONDITIONING to LATENT and MASK."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.checking import choice_of, has_values, instance_of
from ...common.errors import InvalidInputError
from ...engine.editing.edit import run_edit
from ...engine.editing.finding import find_mask
from ...engine.editing.ready import EditTexts
from ...engine.editing.settings import EditSettings
from ...engine.memory import AUTOMATIC, MemorySettings
from ..conditioning.entries import prompts_of
from ..sockets.latents import model_latent, native_latent, video_samples
from ..sockets.models import WanModel
from ..sockets.noise_masks import batch_index_of
from ..talking.voices import check_unspoken
from .masks import both, mask_in_latent, mask_in_pixels

AUTO_MASKS = ("off", "words")


class NativeTexts(NamedTuple):
    """The CONDITIONING of what a clip is to show, of what it shows now, and of what to avoid in each."""

    target: list
    source: list | None
    negative: list
    source_negative: list | None = None


class Where(NamedTuple):
    """Where a clip may be edited: a native MASK, None for everywhere; and one of `AUTO_MASKS`."""

    mask: Any
    auto_mask: str


def edited(
    model: WanModel,
    texts: NativeTexts,
    latent: dict[str, Any],
    settings: EditSettings,
    where: Where,
    memory: MemorySettings | None,
) -> tuple[dict[str, Any], Tensor]:
    """The LATENT of an edit, and the MASK of where the clip was edited.

    Raises:
        WanDirectorError: what of model, conditioning, latent, mask and settings does not go together.
    """
    memory = AUTOMATIC if memory is None else memory
    instance_of(memory, MemorySettings, "memory", "the settings of Wan Memory")
    clean, stride = _clip(model, latent), model.spec.family.spatial_stride
    settings = replace(settings, batch_index=batch_index_of(latent, len(clean)))
    finds = choice_of(where.auto_mask, AUTO_MASKS, "auto_mask") == "words"
    allowed = mask_in_latent(where.mask, latent, clean, stride)
    shift, source, beside = settings.shift, texts.source, texts.source_negative
    prompts = EditTexts(
        prompts_of(model, texts.target, latent, "positive", shift),
        None if source is None else prompts_of(model, source, latent, "source", shift),
        prompts_of(model, texts.negative, latent, "negative", shift),
        None if beside is None else prompts_of(model, beside, latent, "source_negative", shift),
    )
    check_unspoken(prompts.target, prompts.source, prompts.negative, prompts.source_negative)
    _check_pictures(texts, settings)
    if finds:
        allowed = both(allowed, find_mask(model, prompts, clean, settings, memory))
    made = run_edit(model, prompts, clean, allowed, settings, memory)
    return _native(model, latent, clean, made), mask_in_pixels(allowed, latent, stride)


def _check_pictures(texts: NativeTexts, settings: EditSettings) -> None:
    """Refuses a clip that would be asked about with the pictures of its edit on one side.

    Raises:
        InvalidInputError: the negative prompt has other pictures than the source.
    """
    if texts.source is None or texts.source_negative is not None or settings.source_cfg == 1.0:
        return
    pictures, others = _pictures(texts.source), _pictures(texts.negative)
    if len(pictures) != len(others) or not all(_may_be_equal(*pair) for pair in zip(pictures, others)):
        raise InvalidInputError(
            "The negative prompt comes with other pictures than source. Connect the negative of the node that gives "
            "source its pictures to source_negative, or set source_cfg to 1."
        )


def _pictures(conditioning: list) -> list[Tensor]:
    """The given frames of each entry that has some."""
    given = [values.get("concat_latent_image") for _embedding, values in conditioning]
    return [one for one in given if one is not None]


def _may_be_equal(first: Tensor, second: Tensor) -> bool:
    """Whether two latents are the same, as far as they have values: those of a plan have none."""
    if first is second or not (has_values(first) and has_values(second)):
        return True
    return torch.equal(first.cpu(), second.cpu())


def _clip(model: WanModel, latent: dict[str, Any]) -> Tensor:
    """The clip of a LATENT, normalised.

    Raises:
        InvalidInputError: there is none in it.
    """
    clean = model_latent(model, latent)
    if has_values(clean) and not clean.any():
        raise InvalidInputError(
            "The latent is empty, and an edit changes a clip that is there. Connect Wan Encode Video, or the LATENT of "
            "the sampler that made the clip."
        )
    return clean


def _native(model: WanModel, latent: dict[str, Any], clean: Tensor, made: Tensor) -> dict[str, Any]:
    """The LATENT of an edit; where that has changed nothing, the values are those of the clip's own, to the bit."""
    edited = native_latent(model, latent, made)
    is_kept = made == clean.to(made.device)
    return {**edited, "samples": torch.where(is_kept, video_samples(latent).to(made.device), edited["samples"])}
