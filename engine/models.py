"""Models in memory, ready to run: their weights, and for a video model its LoRAs and its second expert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from ..common.records import record
from ..dit.adapters import AppliedAdapter, ParameterShapes
from ..dit.attention import resolve_attention, resolve_pattern
from ..dit.execution import Execution
from ..model_loading.pairing import check_experts
from ..weights.casting import CASTINGS
from ..weights.multiplication import multiplication_of
from .loaded import OfPlaced, PlacedModel, place
from .loras import apply_lora, holds_loras_for_two, unread_lora
from .recipe import LoraRecipe, LowNoiseRecipe, ModelRecipe
from .runtime import Runtime, Work
from .sampling.policies import WHOLE_STEPS, StepPolicies


@record(eq=False, slots=False)
class VideoModel(OfPlaced):
    """A video transformer with the LoRAs of its next run, and perhaps a second one that takes over in it.

    Attributes:
        placed: its weights.
        shapes: those of its parameters, by which LoRA files are matched.
        recipe: what it was made by, LoRAs and second expert included.
        loras: that are active in the next run.
        low_noise: takes over in a run; a model that has none makes all steps.
        policies: how the steps of its runs are made.
    """

    placed: PlacedModel
    shapes: ParameterShapes
    recipe: ModelRecipe
    loras: tuple[AppliedAdapter, ...] = ()
    low_noise: LowNoiseExpert | None = None
    policies: StepPolicies = WHOLE_STEPS

    @property
    def runtime(self) -> Runtime:
        """What it runs on."""
        return self.placed.runtime

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
            pattern=resolve_pattern(self.recipe.attention),
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
    reading = Work(lambda: apply_lora(lora, model.shapes, model.spec, model.runtime), lambda: unread_lora(lora))
    applied = model.runtime.perform(reading)
    recipe = replace(model.recipe, loras=(*model.recipe.loras, lora))
    high = replace(model, recipe=recipe, loras=(*model.loras, applied))
    if low is None:
        return high
    second = with_lora(low.model, replace(lora, is_second_expert=True))
    return _joined(high, low._replace(model=second))


def with_policies(model: VideoModel, change: Callable[[StepPolicies], StepPolicies]) -> VideoModel:
    """The model with its policies changed; of a pair of experts both."""
    low = model.low_noise
    changed = replace(model, policies=change(model.policies))
    return changed if low is None else _joined(changed, low._replace(model=with_policies(low.model, change)))


def holds_two_experts(lora: LoraRecipe, model: VideoModel) -> bool:
    """Whether a file has a LoRA for each expert of a pair, of which this model gets the one for high noise."""
    reading = Work(lambda: holds_loras_for_two(lora, model.shapes, model.spec, model.runtime), lambda: False)
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


def _joined(high: VideoModel, low: LowNoiseExpert) -> VideoModel:
    second = LowNoiseRecipe(low.model.recipe, low.cfg, low.high_steps)
    return replace(high, low_noise=low, recipe=replace(high.recipe, low_noise=second))
