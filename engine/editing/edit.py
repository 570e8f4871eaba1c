"""One edit of a clip by words: what can be refused is refused, what has to be known is found out, and then it walks."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ...sampling.editing import EditedClip
from ..memory import AUTOMATIC, MemorySettings
from ..models import VideoModel
from ..previews.wished import wished_preview
from ..sampling.run import ReadyRun
from ..sampling.sights import tell_sights
from ..sampling.told import warn_of_run
from ..sampling.turn import SamplingRun
from ..sampling.work import sampling_jobs
from .beginning import EditBeginning
from .ready import EditTexts, ready_edit
from .settings import EditSettings


def run_edit(
    model: VideoModel,
    texts: EditTexts,
    latent: Tensor,
    mask: Tensor,
    settings: EditSettings,
    memory: MemorySettings = AUTOMATIC,
) -> Tensor:
    """The edited latent, normalised: [B, C, T, h, w], float32, CPU; arguments and errors as `ready_edit_run`."""
    ready = ready_edit_run(model, texts, latent, mask, settings, memory)
    return model.runtime.perform(ready.work).latent


def ready_edit_run(
    model: VideoModel,
    texts: EditTexts,
    latent: Tensor,
    mask: Tensor,
    settings: EditSettings,
    memory: MemorySettings = AUTOMATIC,
) -> ReadyRun:
    """An edit of which all is known that can be known before it.

    Args:
        latent: [B, C, T, h, w], normalised: the clip as it is.
        mask: [1 or B, 1 or C, T, h, w], 0..1: how much of the change counts; where it is 0, the clip stays to the bit.
        memory: how much of the device to use; when it runs out all the same, less of the model stays on it.

    Raises:
        InvalidInputError: values that cannot work together.
        OutOfMemory: the video does not fit, even with all blocks swapped.
        NumericalError: the model gives values that are not finite.
    """
    model.runtime.check_gpus(memory.gpus, model.residence.device)
    schedule = settings.noise_schedule()
    levels = schedule.levels[:-1]
    ready = ready_edit(model, texts, settings, schedule)
    makers, made, questions = ready.steps(levels)
    of_target, of_source = questions
    asked = [(*one, *other) for one, other in zip(of_target.asked, of_source.asked)]
    warn_of_run(settings.as_sampled(), ready.sides, ready.experts, makers, levels, asked)
    tell_sights(ready.experts, made, latent)
    preview = wished_preview(model.runtime, model.spec.family)
    each = [(level,) for level in levels]
    jobs = sampling_jobs(ready.experts, made, makers, questions, each, latent, memory, preview)

    beginning = EditBeginning(settings, schedule, EditedClip(latent, mask))
    whole = SamplingRun(ready.experts, made, {}, ready.sides, latent, schedule.steps, memory, (ready.beside,))
    request = partial(ready_edit_run, model, texts, latent, mask, settings, memory)
    return ReadyRun(model, whole, beginning, ready.expert_at, jobs, preview, request)
