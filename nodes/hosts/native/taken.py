"""A MODEL of ComfyUI's own loaders as a model for our sampler."""

from __future__ import annotations

from typing import Any, TypeVar

import comfy.model_base
from comfy.model_patcher import ModelPatcher
from torch import nn

from ....common.checking import kind_of
from ....common.errors import InvalidInputError
from ....common.log import logger
from ....dit.adapters import AppliedAdapter, ParameterShapes
from ....engine.loaded import PlacedModel, placed
from ....engine.recipe import ModelRecipe
from ....engine.runtime import Runtime, told_reading
from ....model_loading.build import load_checkpoint
from ....model_loading.kinds import DIT
from ....model_loading.lora import read_lora_checkpoint
from ....model_loading.precision import precision_named
from ...sockets.models import WanModel
from ...sockets.native_model import NativeModel
from .taken_patches import check_patches, lora_files, precision_of, shift_of
from .taken_weights import NativeWeights, SharedResidence

_RUN_HERE = (comfy.model_base.WAN21, comfy.model_base.WAN21_Vace, comfy.model_base.WAN22)
M = TypeVar("M", bound=nn.Module)


def video_model_of(model: Any, runtime: Runtime) -> NativeModel:
    """See `Host.from_native`."""
    if not isinstance(model, ModelPatcher):
        raise InvalidInputError(
            f"The model must be a MODEL of ComfyUI's own loaders, got {kind_of(model)}. Connect Load Diffusion Model."
        )
    weights = NativeWeights(model)
    name = weights.path.name
    if type(model.model) not in _RUN_HERE:
        known = ", ".join(kind.__name__ for kind in _RUN_HERE)
        raise InvalidInputError(
            f"{name} is a model that ComfyUI runs as {type(model.model).__name__}, and Wan Sampler runs those of the "
            f"kinds {known}. Sample it with KSampler, or load another one."
        )
    check_patches(model, name)
    shift = shift_of(model, name)
    recipe = ModelRecipe(weights.path, precision=precision_named(precision_of(model)))
    key = (PlacedModel, "native", id(model.model), recipe.precision)  # held by the entry, so that no other has this id
    shared = runtime.models.once(key, lambda: _placed(model, weights, recipe, runtime))
    shapes = ParameterShapes.of(shared.residence.module)
    loras = tuple(_loras(model, name, shared, shapes))
    return NativeModel(WanModel(shared, shapes, recipe, loras), shift)


def _placed(model: ModelPatcher, weights: NativeWeights, recipe: ModelRecipe, runtime: Runtime) -> PlacedModel:
    """Our module over the weights of a native one."""
    weights.unload()
    options = {"precision": recipe.precision, "device": model.load_device}
    with told_reading(runtime, weights.path.name) as on_bytes:
        loaded = load_checkpoint(DIT, weights.checkpoint(), on_bytes=on_bytes, **options)
    residence = SharedResidence(runtime.residence(loaded.module, model.load_device), weights)
    shared, copied = residence.shared.bytes, residence.shared.copied_bytes
    logger.info(
        "%s: %s of its weights are shared with the MODEL, %s are copies in another number format.",
        weights.path.name, _megabytes(shared), _megabytes(copied),
    )  # fmt: skip
    return placed(loaded, recipe, residence, runtime)


def _loras(model: ModelPatcher, name: str, shared: PlacedModel, shapes: ParameterShapes) -> list[AppliedAdapter]:
    """The LoRAs on a MODEL as adapters.

    Raises:
        CheckpointError, PairingError: they do not fit the model.
        InvalidInputError: a part of one cannot be taken along.
    """
    loras = []
    for strength, file in lora_files(model, name):
        read = read_lora_checkpoint(file, shapes, shared.spec)
        left = [*read.report.unmatched, *read.report.ignored]
        if left:
            raise InvalidInputError(
                f"{file.path.name} changes something that this model does not have here ({left[0]}). Use Wan LoRA with "
                "the file instead."
            )
        logger.info("LoRA %s", read.report.line())
        loras.append(AppliedAdapter(read.adapter, strength))
    return loras


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
