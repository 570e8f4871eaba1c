"""Models in memory, ready to run: their weights, and for a video model its LoRAs and its second expert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..dit.adapters import AppliedAdapter, ParameterShapes
from ..dit.attention import resolve_attention
from ..dit.execution import Execution
from ..model_loading import build
from ..model_loading.branch_module import add_module
from ..model_loading.kinds import DIT, MODEL_KINDS, VACE_MODULE
from ..model_loading.pairing import check_experts
from ..model_loading.spec import ModelSpec
from ..text_encoder.tokenizer import Tokenizer
from ..weights.casting import CASTINGS
from ..weights.multiplication import multiplication_of
from .loras import apply_lora
from .recipe import LoraRecipe, LowNoiseRecipe, ModelRecipe
from .runtime import Residence, Runtime


@dataclass(frozen=True, eq=False)
class PlacedModel:
    """The weights of a model file in memory, and the runtime that looks after them.

    Attributes:
        recipe: which weights they are.
        spec: what the file holds.
        dtype: to compute in.
        residence: where the weights live.
        runtime: what it runs on.
        tokenizer: of a text encoder.
    """

    recipe: ModelRecipe
    spec: ModelSpec
    dtype: torch.dtype
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

    @property
    def execution(self) -> Execution:
        """How its runs compute, which overwrite what they are done with; the weights may be shared with other ways.

        Raises:
            MissingPackageError: the attention kernel is not installed.
        """
        return Execution(
            attention=resolve_attention(self.recipe.attention),
            multiply=multiplication_of(self.residence.module, CASTINGS.get(self.recipe.precision)),
            may_overwrite=True,
        )


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
        MissingPackageError: the attention kernel is not installed.
    """
    resolve_attention(recipe.attention)
    placed = place(recipe, runtime)
    model = VideoModel(placed, ParameterShapes.of(placed.residence.module), recipe.alone)
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
    applied = apply_lora(lora, model.shapes, model.spec)
    recipe = replace(model.recipe, loras=(*model.recipe.loras, lora))
    high = replace(model, recipe=recipe, loras=(*model.loras, applied))
    if low is None:
        return high
    second = with_lora(low.model, replace(lora, is_second_expert=True))
    return _joined(high, low._replace(model=second))


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

    def load() -> PlacedModel:
        device = runtime.device(recipe.kind, recipe.device)
        loaded = _loaded(recipe, device, _reporter(recipe.path, runtime))
        residence = runtime.residence(loaded.module, device)
        return PlacedModel(recipe.weights, loaded.spec, loaded.dtype, residence, runtime, loaded.tokenizer)

    return runtime.models.once(recipe.key(), load)


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


def _loaded(
    recipe: ModelRecipe, device: torch.device, on_tensor: Callable[[int, int], None]
) -> build.Loaded[Any, Any, Any]:
    options = {"precision": recipe.precision, "device": device, "on_tensor": on_tensor}
    if recipe.kind != DIT.name:
        return build.load(MODEL_KINDS[recipe.kind], recipe.path, **options)
    loaded = build.load(DIT, recipe.path, fp32_residual=recipe.fp32_residual, **options)
    module = recipe.vace_module
    return loaded if module is None else add_module(loaded, module, VACE_MODULE, precision=recipe.precision)
