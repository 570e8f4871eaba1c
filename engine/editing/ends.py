"""A clip of which only the first and the last latent frame go on after some steps: a picture, and what is made of it.

Source: ChronoEdit, arXiv 2510.04290; huggingface/diffusers src/diffusers/pipelines/chronoedit/pipeline_chronoedit.py at
v0.42.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from torch import Tensor

from ...sampling.denoiser import Denoising
from ...sampling.loop import sample
from ...sampling.schedule import NoiseSchedule
from ...sampling.solvers import Guess, Solver
from ...sampling.state import SamplerState

ENDS = 2


def ends_of(tensor: Tensor) -> Tensor:
    """The first and the last latent frame of a tensor: [B, C, T, h, w] -> [B, C, 2, h, w]."""
    return tensor[:, :, [0, -1]]


def only_ends(state: SamplerState) -> SamplerState:
    """A state of which the frames between the ends are left out, also of what its solver remembers."""
    record = state.solver
    start, noise = record.start_latent, record.added_noise
    record = replace(
        record,
        past=tuple(Guess(guess.sigma, ends_of(guess.denoised)) for guess in record.past),
        start_latent=None if start is None else ends_of(start),
        added_noise=None if noise is None else ends_of(noise),
    )
    return replace(state, latent=ends_of(state.latent), denoised=ends_of(state.denoised), solver=record)


def sample_to_ends(
    whole: Denoising, ends: Denoising, solver: Solver, schedule: NoiseSchedule, state: SamplerState, whole_steps: int
) -> Iterator[SamplerState]:
    """Walks the rest of a schedule as `sample`: with all frames at first, and then with the first and the last alone.

    Args:
        whole: the model with its prompts for all frames.
        ends: for the two.
        state: of `begin` with all frames, or any that this function gave for this run.
        whole_steps: how many of the first steps see all frames; at least one.

    Raises: as `sample`.
    """
    left = max(0, whole_steps - state.step)
    for reached in islice(sample(whole, solver, schedule, state), left):
        state = reached
        yield state
    if state.step < schedule.steps:
        yield from sample(ends, solver, schedule, only_ends(state))
