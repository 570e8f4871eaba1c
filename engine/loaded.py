"""The weights of any part of a video model in memory, each read once; or their outline, where a run is planned."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..common.checking import choice_of
from ..common.records import record
from ..model_loading import build
from ..model_loading.branch_module import add_module
from ..model_loading.footprint import ModelBytes
from ..model_loading.kinds import DIT, MODEL_KINDS, TEXT_ENCODER
from ..model_loading.outline import outline
from ..model_loading.spec import ModelSpec
from ..text_encoder.encode import MAX_TOKENS
from ..text_encoder.tokenizer import Tokenizer
from .recipe import ModelRecipe
from .runtime import Residence, Runtime, Work, told_reading
from .tasks import bytes_of

DEVICES = ("auto", "cpu", "gpu")


@record(eq=False, slots=False)
class PlacedModel:
    """The weights of a model file in memory, and the runtime that looks after them.

    Attributes:
        recipe: which weights they are.
        spec: what the file holds.
        dtype: to compute in.
        weights: what they take, without LoRAs.
        residence: where they live.
        runtime: what it runs on.
        tokenizer: of a text encoder.
    """

    recipe: ModelRecipe
    spec: ModelSpec
    dtype: torch.dtype
    weights: ModelBytes
    residence: Residence
    runtime: Runtime
    tokenizer: Tokenizer | None = None

    @property
    def file(self) -> str:
        """The file's name, for messages."""
        return self.spec.path.name


class OfPlaced:
    """What an object that holds a placed model tells of it."""

    placed: PlacedModel

    @property
    def spec(self) -> ModelSpec:
        """What the file holds."""
        return self.placed.spec

    @property
    def dtype(self) -> torch.dtype:
        """To compute in."""
        return self.placed.dtype

    @property
    def residence(self) -> Residence:
        """Where the weights live."""
        return self.placed.residence

    @property
    def file(self) -> str:
        """The file's name, for messages."""
        return self.placed.file


def place(recipe: ModelRecipe, runtime: Runtime) -> PlacedModel:
    """The weights of any part of a video model; the same object while it is in use and the files are unchanged.

    Raises:
        InvalidInputError: there is no such kind or device.
        MissingFileError, CheckpointError: see `model_loading.build`.
    """
    choice_of(recipe.kind, tuple(MODEL_KINDS), "kind of a recipe")
    choice_of(recipe.device, DEVICES, "device of a recipe")
    reading = Work(lambda: _load(recipe, runtime), lambda: _outline(recipe, runtime))
    return runtime.models.once(recipe.key(), lambda: runtime.perform(reading))


def _load(recipe: ModelRecipe, runtime: Runtime) -> PlacedModel:
    device = runtime.device(recipe.kind, recipe.device)
    # Hosts run nodes in inference mode, and what is made there can never be trained with.
    with torch.inference_mode(False), torch.no_grad():
        loaded = _read(recipe, device, runtime)
    return placed(loaded, recipe, runtime.residence(loaded.module, device), runtime)


def placed(
    loaded: build.Loaded[Any, Any, Any], recipe: ModelRecipe, residence: Residence, runtime: Runtime
) -> PlacedModel:
    """A model that was loaded, with its weights in the care of `residence`."""
    weights = bytes_of(loaded.module, loaded.dtype)._replace(fp32_residual=recipe.fp32_residual)
    return PlacedModel(recipe.weights, loaded.spec, loaded.dtype, weights, residence, runtime, loaded.tokenizer)


def _outline(recipe: ModelRecipe, runtime: Runtime) -> PlacedModel:
    """The model as its header tells, or what is known of a published file; without weights."""
    device = runtime.device(recipe.kind, recipe.device)
    spec, dtype, weights = outline(recipe.path, MODEL_KINDS[recipe.kind], recipe.precision, device, recipe.modules)
    weights = weights._replace(fp32_residual=recipe.fp32_residual)
    tokenizer = _FullPrompts() if recipe.kind == TEXT_ENCODER.name else None
    return PlacedModel(recipe.weights, spec, dtype, weights, runtime.residence(nn.Module(), device), runtime, tokenizer)


class _FullPrompts(Tokenizer):
    """Stands in for a vocabulary that is not read: every text is as long as the model reads."""

    def __init__(self) -> None:
        self.end_id = 1

    def encode(self, text: str) -> list[int]:
        return [0] * MAX_TOKENS + [self.end_id]


def _read(recipe: ModelRecipe, device: torch.device, runtime: Runtime) -> build.Loaded[Any, Any, Any]:
    """The module of a recipe; says how far its files are read, and stops when asked to."""
    options: dict[str, Any] = {"precision": recipe.precision, "device": device}
    if recipe.kind == DIT.name:
        options["fp32_residual"] = recipe.fp32_residual
    with told_reading(runtime, recipe.path.name) as on_bytes:
        loaded = build.load(MODEL_KINDS[recipe.kind], recipe.path, on_bytes=on_bytes, **options)
    if recipe.kind != DIT.name:
        return loaded
    for name, path in recipe.modules:
        with told_reading(runtime, path.name) as on_bytes:
            loaded = add_module(loaded, path, MODEL_KINDS[name], precision=recipe.precision, on_bytes=on_bytes)
    return loaded
