"""Models in memory, ready to run: their weights, and for a video model its LoRAs and its second expert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ..dit.adapters import AppliedAdapter, ParameterShapes
from ..model_loading import build
from ..model_loading.footprint import ModelBytes
from ..model_loading.outline import outline
from ..model_loading.pairing import check_experts
from ..model_loading.spec import ModelSpec
from ..model_loading.vace_module import add_vace_module
from ..text_encoder.encode import MAX_TOKENS
from ..text_encoder.tokenizer import Tokenizer
from .loras import apply_lora, holds_loras_for_two, unread_lora
from .recipe import LoraRecipe, LowNoiseRecipe, ModelRecipe
from .runtime import Residence, Runtime, Work
from .tasks import bytes_of


@dataclass(frozen=True, eq=False)
class PlacedModel:
    """The weights of a model file in memory, and the runtime that looks after them.

    Attributes:
        recipe: what it was loaded by, without LoRAs.
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


@dataclass(frozen=True, eq=False)
class VideoModel:
    """A video transformer with the LoRAs of its next run, and perhaps a second one that takes over in it.

    Attributes:
        placed: its weights.
        shapes: those of its parameters, by which LoRA files are matched.
        recipe: what it was made by, LoRAs and second expert included.
        loras: that are active in the next run.
        low_noise: takes over in a run; a model that has none makes all steps.
    """

    placed: PlacedModel
    shapes: ParameterShapes
    recipe: ModelRecipe
    loras: tuple[AppliedAdapter, ...] = ()
    low_noise: LowNoiseExpert | None = None

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
    def runtime(self) -> Runtime:
        """What it runs on."""
        return self.placed.runtime

    @property
    def file(self) -> str:
        """The file's name, for messages."""
        return self.placed.file


class LowNoiseExpert(NamedTuple):
    """The model of the last steps; `cfg`: its own, if any; `high_steps`: how many the other makes, 0 as trained."""

    model: VideoModel
    cfg: float | None
    high_steps: int


def load_model(recipe: ModelRecipe, runtime: Runtime) -> VideoModel:
    """The transformer of a recipe with all that belongs to it; files in memory already are not read again.

    Raises:
        MissingFileError, CheckpointError: see `model_loading.build`.
        InvalidInputError, PairingError: the LoRAs or the experts do not fit.
    """
    placed = place(recipe, runtime)
    model = VideoModel(placed, ParameterShapes.of(placed.residence.module), placed.recipe)
    for lora in recipe.loras:
        model = with_lora(model, lora)
    low = recipe.low_noise
    return model if low is None else with_low_noise(model, load_model(low.model, runtime), low.cfg, low.high_steps)


def with_lora(model: VideoModel, lora: LoraRecipe) -> VideoModel:
    """The model with one more LoRA; of a pair of experts each gets the whole file, or its own part of one for both.

    Raises:
        CheckpointError, InvalidInputError: the file is none, or does not fit the model.
    """
    low = model.low_noise
    reading = Work(lambda: apply_lora(lora, model.shapes, model.spec), lambda: unread_lora(lora))
    applied = model.runtime.perform(reading)
    recipe = replace(model.recipe, loras=(*model.recipe.loras, lora))
    high = replace(model, recipe=recipe, loras=(*model.loras, applied))
    if low is None:
        return high
    second = with_lora(low.model, replace(lora, is_second_expert=True))
    return _joined(high, low._replace(model=second))


def holds_two_experts(lora: LoraRecipe, model: VideoModel) -> bool:
    """Whether a file has a LoRA for each expert of a pair, of which this model gets the one for high noise."""
    reading = Work(lambda: holds_loras_for_two(lora, model.shapes, model.spec), lambda: False)
    return model.runtime.perform(reading)


def with_low_noise(high: VideoModel, low: VideoModel, cfg: float | None = None, high_steps: int = 0) -> VideoModel:
    """Two experts as one model.

    Args:
        cfg: guidance scale of the low-noise expert; None for that of the run.
        high_steps: how many steps the high-noise expert makes; 0 to change over where the model was trained to.

    Raises:
        PairingError: they are not of one model, or the wrong way round.
    """
    check_experts(high.spec, low.spec)
    return _joined(high, LowNoiseExpert(low, cfg, high_steps))


def place(recipe: ModelRecipe, runtime: Runtime) -> PlacedModel:
    """The weights of any part of a video model; the same object while it is in use and the files are unchanged.

    Raises:
        MissingFileError, CheckpointError: see `model_loading.build`.
    """
    recipe = recipe.weights
    reading = Work(lambda: _load(recipe, runtime), lambda: _outline(recipe, runtime))
    return runtime.models.once(recipe.key(), lambda: runtime.perform(reading))


def _load(recipe: ModelRecipe, runtime: Runtime) -> PlacedModel:
    device = runtime.device(recipe.kind, recipe.device)
    loaded = _LOADERS[recipe.kind](recipe, device, _reporter(recipe.path, runtime))
    weights = bytes_of(loaded.module, loaded.dtype)._replace(fp32_residual=recipe.fp32_residual)
    residence = runtime.residence(loaded.module, device)
    tokenizer = loaded.tokenizer if isinstance(loaded, build.LoadedTextEncoder) else None
    return PlacedModel(recipe, loaded.spec, loaded.dtype, weights, residence, runtime, tokenizer)


def _outline(recipe: ModelRecipe, runtime: Runtime) -> PlacedModel:
    """The model as its header tells, or what is known of a published file; without weights."""
    device = runtime.device(recipe.kind, recipe.device)
    spec, dtype, weights = outline(recipe.path, recipe.kind, recipe.precision, device, recipe.vace_module)
    weights = weights._replace(fp32_residual=recipe.fp32_residual)
    tokenizer = _FullPrompts() if recipe.kind == "text_encoder" else None
    return PlacedModel(recipe, spec, dtype, weights, runtime.residence(nn.Module(), device), runtime, tokenizer)


class _FullPrompts(Tokenizer):
    """Stands in for a vocabulary that is not read: every text is as long as the model reads."""

    def __init__(self) -> None:
        self.end_id = 1

    def encode(self, text: str) -> list[int]:
        return [0] * MAX_TOKENS + [self.end_id]


def _joined(high: VideoModel, low: LowNoiseExpert) -> VideoModel:
    second = LowNoiseRecipe(low.model.recipe, low.cfg, low.high_steps)
    return replace(high, low_noise=low, recipe=replace(high.recipe, low_noise=second))


def _reporter(path: Path, runtime: Runtime) -> Callable[[int, int], None]:
    """Shows how far a file is read, and stops when asked to."""
    progress = None

    def on_tensor(done: int, total: int) -> None:
        nonlocal progress
        progress = progress or runtime.progress(total, f"loading {path.name}")
        runtime.check_interrupt()
        progress.update(done)

    return on_tensor


def _transformer(recipe: ModelRecipe, device: torch.device, on_tensor: Callable[[int, int], None]) -> build.LoadedDiT:
    options = {"precision": recipe.precision, "attention": recipe.attention}
    loaded = build.load_dit(
        recipe.path, fp32_residual=recipe.fp32_residual, device=device, on_tensor=on_tensor, **options
    )
    return loaded if recipe.vace_module is None else add_vace_module(loaded, recipe.vace_module, **options)


_LOADERS: dict[str, Callable[..., Any]] = {
    "dit": _transformer,
    "vae": lambda recipe, device, on_tensor: build.load_vae(
        recipe.path, precision=recipe.precision, device=device, on_tensor=on_tensor
    ),
    "text_encoder": lambda recipe, device, on_tensor: build.load_text_encoder(
        recipe.path, precision=recipe.precision, device=device, on_tensor=on_tensor
    ),
    "clip_vision": lambda recipe, device, on_tensor: build.load_clip_vision(
        recipe.path, precision=recipe.precision, device=device, on_tensor=on_tensor
    ),
}
