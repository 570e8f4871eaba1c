"""One run of a sampler: what can be refused is refused, what has to be known is found out, and then it walks."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ...sampling.given import NOTHING_GIVEN, Given
from ...sampling.loop import levels_asked
from ...sampling.prompts import OneSide, as_prompts
from ..causal import beginning_of, check_chunks, check_order, tell_chunks
from ..memory import AUTOMATIC, MemorySettings
from ..models import VideoModel
from ..previews.wished import wished_preview
from .asked import Questions, Sides, check_prompts, check_steered
from .experts import experts_of, makers_of
from .run import ReadyRun, SampledLatent
from .settings import SamplerSettings
from .sights import steps_of, tell_sights
from .told import warn_of_run, with_useful_cache
from .turn import SamplingRun
from .work import sampling_jobs


def run_sampler(
    model: VideoModel,
    positive: OneSide,
    negative: OneSide,
    latent: Tensor,
    settings: SamplerSettings,
    noise: Tensor | None = None,
    given: Given = NOTHING_GIVEN,
    memory: MemorySettings = AUTOMATIC,
) -> Tensor:
    """The sampled latent, normalised: [B, C, T, h, w], float32, CPU; see `run_sampler_with_guess`."""
    return run_sampler_with_guess(model, positive, negative, latent, settings, noise, given, memory).latent


def run_sampler_with_guess(
    model: VideoModel,
    positive: OneSide,
    negative: OneSide,
    latent: Tensor,
    settings: SamplerSettings,
    noise: Tensor | None = None,
    given: Given = NOTHING_GIVEN,
    memory: MemorySettings = AUTOMATIC,
) -> SampledLatent:
    """The sampled latent, and the model's last guess of the clean one.

    Everything that can be refused is refused before the weights are moved.

    Args:
        latent: [B, C, T, h, w], normalised; zeros for a new video.
        noise: [B, C, T, h, w] to start from; drawn from the seed when not given.
        given: what of the latent to keep as it is.
        memory: how much of the device to use; when it runs out all the same, less of the model stays on it.

    Raises:
        OutOfMemory: the video does not fit, even with all blocks swapped.
        NumericalError: the model gives values that are not finite.
    """
    ready = ready_run(model, positive, negative, latent, settings, noise, given, memory)
    return model.runtime.perform(ready.work)


def ready_run(
    model: VideoModel,
    positive: OneSide,
    negative: OneSide,
    latent: Tensor,
    settings: SamplerSettings,
    noise: Tensor | None = None,
    given: Given = NOTHING_GIVEN,
    memory: MemorySettings = AUTOMATIC,
) -> ReadyRun:
    """What `run_sampler_with_guess` runs; all that can be refused is.

    Raises:
        InvalidInputError, PairingError: values that cannot work together.
    """
    request = partial(ready_run, model, positive, negative, latent, settings, noise, given, memory)
    schedule = settings.noise_schedule()
    model.runtime.check_gpus(memory.gpus, model.residence.device)
    check_order(model)
    model = with_useful_cache(model, schedule.steps)
    settings.find_solver()
    steps = schedule.levels[:-1]
    experts, expert_at = experts_of(model, settings.cfg, schedule)
    makers = makers_of(steps, expert_at)
    asked = [experts[maker].guidance.asks(level) for level, maker in zip(steps, makers)]
    sides: Sides = {"positive": as_prompts(positive), "negative": as_prompts(negative)}
    check_prompts(sides, steps, asked)
    check_chunks(model, schedule, sides)
    check_steered(model.spec, sides)
    warn_of_run(settings, sides, experts, makers, steps, asked)
    made = steps_of(experts, makers, steps, sides)
    tell_sights(experts, made, latent)
    tell_chunks(model, made.values(), latent)
    preview = wished_preview(model.runtime, model.spec.family)
    beginning = beginning_of(model, settings, schedule, latent, noise, given)
    levels = levels_asked(settings.find_solver(), schedule)
    jobs = sampling_jobs(experts, made, makers, [Questions(sides, asked)], levels, latent, memory, preview)

    rounds = beginning.schedule.steps // max(schedule.steps, 1)
    whole = SamplingRun(experts, made, {}, sides, latent, schedule.steps, memory, rounds=rounds)
    return ReadyRun(model, whole, beginning, expert_at, jobs, preview, request)
