"""What a run's settings are judged by: taken from its settings, its models and the files of their LoRAs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ....common.log import logger
from ....model_loading.publishing.few_steps import few_steps_lora, few_steps_model
from ....sampling.experts import Expert
from ....sampling.guidance import formula_of
from ....sampling.step import NoiseLevel
from ...models import VideoModel
from ...recipe import LoraRecipe
from ..experts import GuidedModel
from ..settings import SamplerSettings
from .advice import LoraFacts, ModelFacts, RunFacts, advice

_NOISE = 0.99
"""From which sigma on a table of noise levels begins with noise."""


def tell_advice(
    experts: Mapping[Expert, GuidedModel],
    settings: SamplerSettings,
    makers: Sequence[Expert],
    steps: Sequence[NoiseLevel],
) -> None:
    """Says in one line of the log what of a run's settings does not go together; nothing where all of it does.

    Args:
        makers: who makes each step.
        steps: where each begins.
    """
    models = []
    for name, (model, guidance) in experts.items():
        formulas = [formula_of(guidance, level) for level, maker in zip(steps, makers) if maker == name]
        if formulas:  # a cfg that changes over the run may be meant
            models.append(_model_facts(model, min((each.scale for each in formulas if each), default=settings.cfg)))
    told = advice(_run_facts(settings, models))
    if told:
        logger.warning(
            "These settings do not go together. %s", " ".join(f"{each[0].upper()}{each[1:]}" for each in told)
        )


def _run_facts(settings: SamplerSettings, models: list[ModelFacts]) -> RunFacts:
    sigmas = settings.sigmas
    if sigmas is None:
        return RunFacts(settings.steps, settings.shift, settings.denoise == 1, models)
    is_whole = len(sigmas) > 1 and float(sigmas[0]) > _NOISE and float(sigmas[-1]) == 0
    return RunFacts(max(len(sigmas) - 1, 0), None, is_whole, models)


def _model_facts(model: VideoModel, cfg: float) -> ModelFacts:
    loras = tuple(_lora_facts(lora) for lora in model.recipe.loras if lora.strength and lora.start < lora.end)
    return ModelFacts(model.file, model.spec.preset, cfg, few_steps_model(model.spec.path), loras)


def _lora_facts(lora: LoraRecipe) -> LoraFacts:
    for_all_steps = lora.start <= 0 and lora.end >= 1
    return LoraFacts(lora.path.name, lora.strength, for_all_steps, few_steps_lora(lora.path))
