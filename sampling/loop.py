"""The sampling loop: a generator that walks a noise schedule and yields the run's state after every step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from ..common.errors import InvalidInputError
from ..common.shapes import LatentShape
from .denoiser import Denoising
from .given import NOTHING_GIVEN, Given
from .noise import add_noise, remove_signal_weight, seeded_noise, step_noise
from .schedule import NoiseSchedule
from .solvers import Solver
from .state import SamplerState
from .step import NoiseLevel
from .validation import check_latent, check_step_result


def begin(
    solver: Solver,
    schedule: NoiseSchedule,
    latent: Tensor,
    *,
    seed: int,
    noise: Tensor | None = None,
    batch_index: Sequence[int] | None = None,
) -> SamplerState:
    """The state before the first step: `latent` noised to the start of the schedule.

    Args:
        solver: an entry of `solvers.SOLVERS`.
        schedule: see `schedule.make_schedule` and `schedule.from_sigmas`. Without steps, the latent stays as it is.
        latent: [B, C, T, h, w], normalised; zeros for text to video, an encoded clip for video to video.
        seed: 0 .. 2^64 - 1; same seed, same result.
        noise: [B, C, T, h, w] to start from; drawn from the seed when not given.
        batch_index: the numbers of the videos among the noises of the seed; None for the first.

    Raises:
        InvalidInputError: a latent or seed that cannot be sampled from.
    """
    check_latent(latent)
    sigma, record = float(schedule.sigmas[0]), solver.start(step_noise(seed, len(latent), batch_index))
    if schedule.steps == 0:
        return SamplerState(0, 0, sigma, latent, latent, record)
    if noise is None:
        noise = seeded_noise(seed, LatentShape(*latent.shape[1:]), len(latent), batch_index)
    noisy = add_noise(latent.float(), noise.to(latent.device), schedule.noise_weight)
    return SamplerState(0, schedule.steps, sigma, noisy, latent, record)


def sample(
    denoiser: Denoising,
    solver: Solver,
    schedule: NoiseSchedule,
    state: SamplerState,
    given: Given = NOTHING_GIVEN,
) -> Iterator[SamplerState]:
    """Walks the rest of a schedule down from a state, and yields the state after every step.

    Args:
        denoiser: the model with its prompts.
        solver: the one that the state comes from.
        schedule: the one that the state comes from. Without steps, the state itself is yielded.
        state: of `begin`, or any that this function gave for this run: the rest has the same bits then.
        given: what of the latent is kept as it is.

    Raises:
        InvalidInputError: the state is of another schedule.
        NumericalError: a step gave NaN or infinity.
    """
    levels = schedule.levels
    check_state(state, schedule)
    if schedule.steps == 0:
        yield state
        return
    state = replace(state, latent=given.impose(state.latent))
    for level, following in pairwise(levels[state.step :]):
        with torch.no_grad():
            state = make_step(denoiser, solver, state, given, level, following)
        check_step_result(state.latent, state.step, state.steps, level.sigma)
        state = finished(state, given)
        yield state


def levels_asked(solver: Solver, schedule: NoiseSchedule) -> list[tuple[NoiseLevel, ...]]:
    """The noise levels at which each step of a schedule asks the model: found by walking with one number as latent."""
    record, latent = solver.start(step_noise(0)), torch.zeros(1, 1, 1, 1, 1)
    steps: list[tuple[NoiseLevel, ...]] = []
    for level, following in pairwise(schedule.levels):
        asked: list[NoiseLevel] = []

        def predict(noisy: Tensor, at: NoiseLevel, asked: list[NoiseLevel] = asked) -> Tensor:
            asked.append(at)
            return torch.zeros_like(noisy)

        record, latent, _ = solver.advance(record, predict, latent, level, following)
        steps.append(tuple(asked))
    return steps


def make_step(
    denoiser: Denoising,
    solver: Solver,
    state: SamplerState,
    given: Given,
    level: NoiseLevel,
    following: NoiseLevel,
) -> SamplerState:
    """The state after one step, from `level` to `following`."""
    prediction = denoiser.start(state.cache)

    def predict(latent: Tensor, at: NoiseLevel) -> Tensor:
        shown = given.shown(latent, at.sigma)
        times = given.timesteps(torch.full((len(shown),), at.timestep, dtype=torch.float32, device=shown.device))
        return given.velocity(prediction(shown, at, times), latent, shown, at.sigma)

    step = solver.advance(state.solver, predict, state.latent, level, following)
    return SamplerState(
        step=following.index,
        steps=following.steps,
        sigma=following.sigma,
        latent=given.impose(step.latent),
        denoised=given.impose(step.denoised),
        solver=step.record,
        cache=prediction.kept,
    )


def finished(state: SamplerState, given: Given) -> SamplerState:
    """The state of the last step as a run's result; any other as it is."""
    if state.step < state.steps:
        return state
    result = remove_signal_weight(state.latent, state.sigma)
    return replace(state, latent=given.finish(result, state.sigma))


def check_state(state: SamplerState, schedule: NoiseSchedule) -> None:
    """Refuses a state that is not one of a run of this schedule.

    Raises:
        InvalidInputError: it is of another one.
    """
    is_within = state.steps == schedule.steps and state.step <= schedule.steps
    if not is_within or state.sigma != float(schedule.sigmas[state.step]):
        raise InvalidInputError(
            f"The state is that of step {state.step} of {state.steps} (sigma {state.sigma:.4f}), but the schedule has "
            f"{schedule.steps} steps from sigma {float(schedule.sigmas[0]):.4f}. Go on with the schedule that the run "
            "began with."
        )
