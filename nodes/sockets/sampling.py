"""One run of our sampler between native values: from LATENT and CONDITIONING to LATENT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...engine.memory import AUTOMATIC, MemorySettings
from ...engine.sampling.run import ReadyRun
from ...engine.sampling.sample import ready_run
from ...engine.sampling.settings import SamplerSettings
from ...sampling.noise import step_noise
from ...sampling.solvers import MASKS_WITH_STEP_NOISE
from ..conditioning.entries import prompts_of
from ..talking.voices import with_frames_shown
from .latents import model_latent, native_latent
from .models import WanModel
from .noise_masks import batch_index_of, given_of, starting_noise


def sampled(
    model: WanModel,
    sides: tuple[list, list],
    latent: dict[str, Any],
    settings: SamplerSettings,
    memory: MemorySettings = AUTOMATIC,
    *,
    adds_noise: bool = True,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The native LATENT that a run makes of another, and that of the model's last guess of the clean one.

    Args:
        sides: the positive and the negative CONDITIONING.
        adds_noise: whether the latent is noised before the first step; a run that goes on from another adds none.

    Raises:
        WanDirectorError: what of model, conditioning, latent and settings does not go together.
    """
    run = ready_sampling(model, sides, latent, settings, memory, adds_noise=adds_noise)
    made = model.runtime.perform(run.work)
    return native_latent(model, latent, made.latent), native_latent(model, latent, made.denoised)


def ready_sampling(
    model: WanModel,
    sides: tuple[list, list],
    latent: dict[str, Any],
    settings: SamplerSettings,
    memory: MemorySettings = AUTOMATIC,
    *,
    adds_noise: bool = True,
) -> ReadyRun:
    """What `sampled` runs; all that can be refused is.

    Raises:
        WanDirectorError: what of model, conditioning, latent and settings does not go together.
    """
    clean = model_latent(model, latent)
    noise = starting_noise(latent, clean, settings.seed) if adds_noise else torch.zeros_like(clean)
    settings = replace(settings, batch_index=batch_index_of(latent, len(clean)))
    behind = noise
    if settings.solver in MASKS_WITH_STEP_NOISE:
        behind, _ = step_noise(settings.seed, len(clean), settings.batch_index).draw(clean)
    given = given_of(model, latent, clean, behind)
    positive, negative = sides
    prompts = (
        prompts_of(model, positive, latent, "positive", settings.shift),
        prompts_of(model, negative, latent, "negative", settings.shift),
    )
    given = with_frames_shown(given, *prompts)
    own = None if adds_noise else noise  # None: the seed's, which comes to the same
    return ready_run(model, *prompts, clean, settings, noise=own, given=given, memory=memory)
