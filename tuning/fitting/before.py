"""A training planned from its settings: from the headers of its clips and of its model, before anything is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...common.families import Family
from ...common.shapes import VideoShape
from ...engine import ModelRecipe
from ...model_loading.kinds import DIT
from ...model_loading.outline import outline
from ..datasets import ClipFile, DatasetPart, PictureShape, clip_shape, clips_of, read_dataset
from ..settings import TrainingSettings
from .footprint import StepShape
from .plan import Clips, Planned, seen_as


class FoundClip(NamedTuple):
    """A clip, and the part of the dataset that it is of."""

    clip: ClipFile
    part: DatasetPart


def find_clips(settings: TrainingSettings) -> list[FoundClip]:
    """All clips of a training, in order.

    Raises:
        MissingFileError, InvalidInputError: see `datasets`.
    """
    data = settings.dataset
    parts = read_dataset(settings.folder / data.source, PictureShape(*data.resolution), data.frames)
    return [FoundClip(clip, part) for part in parts for clip in clips_of(part)]


def planned_training(
    settings: TrainingSettings, clips: Sequence[FoundClip], model: Path, device: torch.device
) -> Planned:
    """What a training takes, by its largest step.

    Args:
        model: the transformer's file; one that is not there is known by its name if it is a published one.

    Raises:
        WanDirectorError: the files cannot be used.
    """
    precision: Any = settings.model.precision
    recipe = ModelRecipe(model, precision=precision)
    spec, _, weights = outline(recipe.path, DIT, recipe.precision, device)
    made = []
    for each in _steps(settings, clips, spec.family):
        step = StepShape(spec.config, seen_as(spec.family, each), weights, settings.lora)
        made.append(Planned(spec.family, step, settings.optimiser, each))
    return max(made, key=lambda planned: planned.beside(0, parts=False))


def _steps(settings: TrainingSettings, clips: Sequence[FoundClip], family: Family) -> list[Clips]:
    """The batches that there will be, of each size the largest."""
    counts: Counter[tuple[VideoShape, int]] = Counter()
    for clip, part in clips:
        counts[clip_shape(clip, part, family.size_multiple), part.batch_size] += part.num_repeats
    made = [Clips(video, min(count, size)) for (video, size), count in counts.items()]
    prior = settings.prior
    if prior.prompts:
        count = min(prior.batch, len(prior.prompts) * prior.copies)
        made.append(Clips(VideoShape(prior.frames, prior.height, prior.width), count))
    return made
