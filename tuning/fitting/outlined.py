"""A training as a plan of a whole workflow notes it: the encoders, the clips of a prior, and the steps themselves."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from ...common.empty_tensors import empty
from ...common.shapes import VideoShape
from ...engine import Conditioning, SamplerSettings, VideoModel, embed_prompt, empty_latent, encode, run_sampler
from ...engine.memory import Job
from ...memory.plan import Task
from ...model_loading.footprint import ModelBytes
from ..datasets.frames import clip_shape
from ..datasets.reading import FoundClips
from ..preparing import Encoders
from ..run import TrainingModels, TrainingPlaces
from ..settings import PriorSettings, TrainingSettings
from .before import largest_step
from .samples import sampling_memory

_ANY_RAM = 1 << 50
"""Ways that want more than there is are left out where the machine is known."""


def training_job(settings: TrainingSettings, found: FoundClips, model: VideoModel) -> Job:
    """What there is to do with a model that learns: its largest step.

    Raises:
        WanDirectorError: a clip cannot be used.
    """
    largest = largest_step(settings, found, model.spec, model.placed.weights)

    def task(weights: ModelBytes, video: VideoShape) -> Task:
        return replace(largest, step=largest.step._replace(weights=weights)).of(video).task(_ANY_RAM)

    memory = sampling_memory(settings.memory, 0)
    return Job("train", model.placed.recipe, model.spec, model.placed.weights, memory, task, largest.clips.video)


def outline_preparation(
    settings: TrainingSettings, models: TrainingModels, found: FoundClips, places: TrainingPlaces
) -> None:
    """Has a runtime that plans note what is done before a model learns.

    Raises:
        WanDirectorError: settings, clips and models do not go together.
    """
    family = models.model.spec.family
    Encoders(*models.encoded_by, places.cache).check(settings.dataset.given, settings.prior)
    embed_prompt(models.text, "")
    shapes = [clip_shape(clip, part, family.size_multiple) for clip, part in (*found.clips, *found.prior)]
    encode(models.vae, empty(1, *max(shapes, key=prod), 3))
    if settings.prior.prompts:
        _outline_prior(settings.prior, models)


def _outline_prior(prior: PriorSettings, models: TrainingModels) -> None:
    config, family = models.model.spec.config, models.model.spec.family
    text = Conditioning(empty(1, config.text_tokens, config.text_dim))
    latent = empty_latent(family, VideoShape(prior.frames, prior.height, prior.width))
    how = SamplerSettings(0, prior.steps, prior.cfg, prior.shift, "euler")
    run_sampler(models.partner.of(models.model), text, text, latent, how)
