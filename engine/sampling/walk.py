"""The steps of one run, from its beginning on, or from where an earlier run of the same kind was broken off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from ...common.log import logger
from ...common.records import record
from ...sampling.experts import Expert
from ...sampling.state import STATE_KINDS, SamplerState
from ...sampling.step import NoiseLevel
from ..models import VideoModel
from ..previews.preview import Draw
from ..resuming.identity import run_key
from ..resuming.kept import KeptRun
from ..runtime import Progress
from .beginning import RunBeginning
from .experts import Turns
from .sights import references_of
from .told import tell_spared
from .turn import SamplingRun


@record(eq=False)
class RunState:
    """Where a run stands between two steps.

    Attributes:
        sampler: of the sampling loop.
        mended: how many times each expert's way to compute was made more exact, see `Stage.mended`.
    """

    sampler: SamplerState
    mended: Mapping[Expert, int]


RUN_KINDS = (RunState, *STATE_KINDS)


def walked(
    model: VideoModel,
    whole: SamplingRun,
    beginning: RunBeginning,
    expert_at: Callable[[NoiseLevel], Expert],
    draw: Draw,
) -> Iterator[SamplerState]:
    """The state that a run begins or goes on with, and those after each of the steps that follow, the last one at last.

    Args:
        model: of the first steps.
        whole: the experts and what they need.
        beginning: what the run starts from.
        expert_at: who makes the step that begins at a noise level.
        draw: the preview of a guess of the clean latent.
    """
    device, schedule = model.residence.device, beginning.schedule
    makers = [expert_at(level) for level in schedule.levels[:-1]]
    decisive = (beginning.but_seed, whole.sides, whole.beside, makers, whole.memory.feed_forward_run)
    key = partial(run_key, whole.experts, device, beginning.seed, *decisive)
    beginning = beginning.arranged(model.policies.windows, references_of(whole.sides))
    with model.runtime.kept_runs.of(key, RUN_KINDS) as kept:
        run = _earlier(kept, beginning, device) or RunState(beginning.state(device), {})
        if not whole.sharing.is_same(run.sampler.step):
            logger.info("Not all devices could read where the earlier run stood: this one starts anew.")
            run = RunState(beginning.state(device), {})
        yield run.sampler
        with whole.told(model.runtime, run.sampler.step) as progress:
            open_turn = partial(whole.turn, progress)
            with Turns(expert_at, open_turn, run.mended) as turns:
                show = partial(_show, progress, turns, draw)
                yield from _steps(model, beginning, run.sampler, turns, show, kept)


def _steps(
    model: VideoModel,
    beginning: RunBeginning,
    state: SamplerState,
    turns: Turns,
    show: Callable[[SamplerState], None],
    kept: KeptRun,
) -> Iterator[SamplerState]:
    """The states after the steps that follow `state`."""
    schedule, runtime = beginning.schedule, model.runtime
    levels = schedule.levels
    if state.step < schedule.steps:
        turns.begin_step(levels[state.step])
    following = beginning.steps(turns, state, model.residence.device)
    for state in following:
        kept.reach(RunState(state, turns.mended), is_last=state.step == schedule.steps)
        show(state)
        yield state
        runtime.check_interrupt()
        if state.step < schedule.steps:
            turns.begin_step(levels[state.step])


def _show(progress: Progress, turns: Turns, draw: Draw, state: SamplerState) -> None:
    progress.update(state.step, turns.spared(partial(draw, state.denoised)))
    tell_spared(progress, state)


def _earlier(kept: KeptRun, beginning: RunBeginning, device: torch.device) -> RunState | None:
    """Where an earlier run of the same kind stood, which is said; or where one of another seed does."""
    found = kept.earlier(device)
    if not isinstance(found, RunState) or not _is_of(found.sampler.latent, beginning.latent):
        _tell_of_kin(kept)
        return None
    step, steps = found.sampler.step, found.sampler.steps
    if step < steps:
        logger.info("Sampling goes on after step %d of %d, where an earlier run of it was broken off.", step, steps)
    else:
        logger.info("An earlier run had made all %d steps of this one: its result is used.", steps)
    return found


def _is_of(latent: Tensor, begun: Tensor) -> bool:
    """Whether a run that began with one latent can have come to another; it may have left out frames on its way."""
    sizes, before = latent.shape, begun.shape
    return (sizes[:2], sizes[3:]) == (before[:2], before[3:]) and sizes[2] <= before[2]


def _tell_of_kin(kept: KeptRun) -> None:
    """Says how to go on with the newest run of another seed that has not ended: a seed may have changed by itself."""
    for seed, state in kept.kin():
        if isinstance(state, RunState) and state.sampler.step < state.sampler.steps:
            logger.info(
                "An earlier run of the same settings with seed %d was broken off after step %d of %d, or goes on "
                "elsewhere. To go on with it, set the seed to %d, and control after generate to fixed.",
                seed, state.sampler.step, state.sampler.steps, seed,
            )  # fmt: skip
            return
