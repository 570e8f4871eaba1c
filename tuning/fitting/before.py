"""A training planned from its settings: from the headers of its clips and of its model, before anything is loaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from ...common.log import logger
from ...common.shapes import VideoShape
from ...engine import Runtime, VideoModel
from ...memory.budget import gigabytes
from ...model_loading.footprint import ModelBytes
from ...model_loading.kinds import DIT, MODEL_KINDS
from ...model_loading.outline import outline
from ...model_loading.spec import ModelSpec
from ..datasets.frames import clip_shape
from ..datasets.reading import FoundClips
from ..settings import TrainingSettings
from .arranging import Arrangement
from .footprint import StepShape
from .plan import Clips, PlannedStep, TrainingPlan, plan_training, seen_as
from .samples import SamplesPlan


def arrange(settings: TrainingSettings, found: FoundClips, model: VideoModel) -> Arrangement:
    """How a model in memory is trained, which is told.

    Raises:
        OutOfMemory: it does not fit into what may be used at most.
    """
    step = largest_step(settings, found, model.spec, model.placed.weights)
    plan = plan_training(step, settings.memory, model.residence.device, model.runtime)
    logger.info("%s", plan.words)
    if not plan.fits:
        logger.warning("Only %s may be used: it is tried all the same.", gigabytes(plan.limit or 0))
    return Arrangement(plan)


def check_fits(settings: TrainingSettings, found: FoundClips, model: Path, vae: Path, runtime: Runtime) -> None:
    """Refuses a training that does not fit, or whose samples do not, before its model is loaded.

    Raises:
        OutOfMemory: it does not fit into what may be used at most.
    """
    if settings.memory.budget != "use at most":
        return
    device = runtime.device(DIT.name)
    made = plan_training(planned_training(settings, found, model, device), settings.memory, device, runtime)
    samples = planned_samples(made, settings, vae, device)
    if samples is not None:
        samples.check()


def planned_samples(
    made: TrainingPlan, settings: TrainingSettings, vae: Path, device: torch.device
) -> SamplesPlan | None:
    """What the samples of a training take; None where there are none.

    Args:
        vae: the file; one that is not there is known by its name if it is a published one.

    Raises:
        WanDirectorError: the file cannot be used.
    """
    if not settings.samples.prompts:
        return None
    return SamplesPlan(made, settings.samples, outline(vae, MODEL_KINDS["vae"], "auto", device))


def planned_training(settings: TrainingSettings, found: FoundClips, model: Path, device: torch.device) -> PlannedStep:
    """What a training takes, by its largest step.

    Args:
        model: the transformer's file; one that is not there is known by its name if it is a published one.

    Raises:
        WanDirectorError: the files cannot be used.
    """
    precision: Any = settings.model.precision
    spec, _, weights = outline(model, DIT, precision, device)
    return largest_step(settings, found, spec, weights)


def largest_step(
    settings: TrainingSettings, found: FoundClips, spec: ModelSpec[Any], weights: ModelBytes
) -> PlannedStep:
    """The step of a training that takes most.

    Raises:
        WanDirectorError: a clip cannot be used.
    """
    made = []
    for each in _steps(settings, found, spec.family.size_multiple):
        step = StepShape(spec.config, seen_as(spec.family, each), weights, settings.lora)
        made.append(PlannedStep(spec.family, step, settings.optimiser, each))
    return max(made, key=lambda planned: planned.beside(0, parts=False))


def _steps(settings: TrainingSettings, found: FoundClips, multiple: int) -> list[Clips]:
    """The batches that there will be, of each size the largest."""
    made, prior = [], settings.prior
    counts: Counter[tuple[VideoShape, int]] = Counter()
    for clip, part in found.clips:
        counts[clip_shape(clip, part, multiple), part.batch_size] += part.num_repeats
    made = [Clips(video, min(count, size)) for (video, size), count in counts.items()]
    kept = Counter(clip_shape(clip, part, multiple) for clip, part in found.prior)
    if prior.prompts:
        kept[VideoShape(prior.frames, prior.height, prior.width)] = len(prior.prompts) * prior.copies
    return [*made, *(Clips(video, min(count, prior.batch)) for video, count in kept.items())]
