"""Where an edit changes a clip: found from where the model's answers to both texts disagree."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ...sampling.editing import MASK_NOISES, MASK_SIGMA, EditedClip, disagreement, mask_of
from ...sampling.noise import step_noise
from ..memory import AUTOMATIC, MemorySettings
from ..models import VideoModel
from ..progress import Counted
from ..runtime import Work
from ..sampling.job import choose
from ..sampling.sights import references_of
from ..sampling.turn import SamplingRun
from ..sampling.work import sampling_jobs
from .beginning import EditBeginning
from .ready import EditTexts, ready_edit
from .settings import EditSettings


def find_mask(
    model: VideoModel, texts: EditTexts, latent: Tensor, settings: EditSettings, memory: MemorySettings = AUTOMATIC
) -> Tensor:
    """Where an edit of these settings changes a clip: [B, 1, T, h, w], float32, 0 or 1, CPU; see `mask_of`.

    Of two experts that one is asked which makes steps at the noise level of the search. An edit without steps changes
    nothing.

    Args:
        latent: [B, C, T, h, w], normalised: the clip as it is.

    Raises: as `run_edit`.
    """
    schedule = settings.noise_schedule()
    outline = (len(latent), 1, *latent.shape[2:])
    if not schedule.steps:
        return torch.zeros(outline)
    memory = replace(memory, gpus=1)  # so little work is not worth telling others
    ready = ready_edit(model, texts, settings, schedule)
    level = schedule.levels[0].moved(MASK_SIGMA)
    makers, made, questions = ready.steps((level,) * MASK_NOISES)
    jobs = sampling_jobs(ready.experts, made, makers, questions, ((level,),) * MASK_NOISES, latent, memory)
    sharing = model.runtime.sharing
    beside = (ready.beside,)
    whole = SamplingRun(ready.experts, made, {}, ready.sides, latent, MASK_NOISES, memory, beside, sharing=sharing)
    clip = EditBeginning(settings, schedule, EditedClip(latent, torch.ones(1)))
    clip = clip.arranged(model.policies.windows, references_of(ready.sides)).clip
    noise = step_noise(settings.seed, len(latent), settings.batch_index)

    def run() -> Tensor:
        name = makers[0]
        asked = replace(whole, choices={name: choose(ready.experts[name].model, jobs[name])})
        found: list[Tensor] = []
        with (
            model.runtime.progress(Counted("Finding what changes", "noise", MASK_NOISES, 0)) as progress,
            asked.turn(progress, name, level.index, 0) as at_work,
        ):
            both = at_work.denoiser.start, at_work.beside[0].start
            there = clip.to(model.residence.device)
            for each in disagreement(*both, there, level, noise):
                found.append(each)
                progress.update(len(found))
                model.runtime.check_interrupt()
        return mask_of(found).cpu()

    return model.runtime.perform(Work(run, partial(torch.empty, outline, device="meta"), tuple(jobs.values())))
