"""The loop of a causal model: the steps of each chunk, and then a look at the finished one, which the next ones see.

Source: Huang et al., "Self Forcing", arXiv 2506.08009, algorithm 2; CausVid, arXiv 2412.07772.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from ...common.records import record
from ...dit.conditioning.cut import Cut
from ...dit.config import DiTConfig
from ..cache import NOTHING_KEPT
from ..denoiser import Denoiser
from ..given import Given
from ..loop import begin, finished, make_step
from ..noise import chunk_noise
from ..schedule import NoiseSchedule
from ..solvers import Solver
from ..state import SamplerState
from ..step import NoiseLevel
from ..validation import check_step_result
from .memories import Memories
from .order import ChunkByChunk


class ChunkTurns(Protocol):
    """Who asks the model during a run."""

    def begin_step(self, level: NoiseLevel) -> None:
        """Makes the model ready for the step from this noise level on."""
        ...

    def seeing(self, cut: Cut, memories: Memories) -> Denoiser:
        """What asks about a chunk."""
        ...


@record(eq=False)
class CausalRun:
    """What the steps of all chunks have in common.

    Attributes:
        order: the chunks.
        solver: of each.
        schedule: of each; it ends at sigma 0.
        given: what of the latent is kept; whole frames at its beginning are seen and not made.
        seed: of the noise that steps add.
        batch_index: the numbers of the videos among the noises of the seed; None for the first.
        config: of the model.
        device: that chunks are made on; the video waits where its state is, so that its length takes no memory there.
    """

    order: ChunkByChunk
    solver: Solver
    schedule: NoiseSchedule
    given: Given
    seed: int
    batch_index: Sequence[int] | None
    config: DiTConfig
    device: torch.device = torch.device("cpu")

    def made(self, frames: int) -> tuple[Cut, ...]:
        """The chunks to make of so many latent frames."""
        return self.order.made(frames, self.given.frames_before(frames))

    def memories(self, frames: int) -> Memories:
        """Before the first of so many latent frames."""
        return Memories(self.config, self.order.frames_kept(frames), self.order.sink_frames)

    def chunk(self, state: SamplerState, number: int, cut: Cut) -> SamplerState:
        """A chunk of a state of the whole video, as a state of its own."""
        own = replace(
            state,
            step=state.step - number * self.schedule.steps,
            steps=self.schedule.steps,
            latent=cut.of(state.latent).to(self.device),
            denoised=cut.of(state.denoised).to(self.device),
        )
        noise = chunk_noise(self.seed + self.order.step_seed, number, own.step, len(own.latent), self.batch_index)
        record = replace(state.solver, noise=noise) if own.step else self.solver.start(noise)
        sigma = float(self.schedule.sigmas[own.step])
        return replace(own, sigma=sigma, solver=record, cache=state.cache if own.step else NOTHING_KEPT)

    def merged(self, state: SamplerState, number: int, cut: Cut, chunk: SamplerState) -> SamplerState:
        """The state of the whole video after a step of a chunk."""
        latent, denoised = state.latent.clone(), state.denoised.clone()
        cut.of(latent).copy_(chunk.latent)
        cut.of(denoised).copy_(chunk.denoised)
        step = number * self.schedule.steps + chunk.step
        return replace(chunk, step=step, steps=state.steps, latent=latent, denoised=denoised)


def begin_chunks(run: CausalRun, latent: Tensor, noise: Tensor | None = None) -> SamplerState:
    """The state before the first step: `latent` noised, but for the frames that are there already.

    Args:
        latent: [B, C, T, h, w], normalised.
        noise: [B, C, T, h, w] to start from; drawn from the seed when not given.

    Raises:
        InvalidInputError: a latent or seed that cannot be sampled from.
    """
    state = begin(run.solver, run.schedule, latent, seed=run.seed, noise=noise, batch_index=run.batch_index)
    given, cuts = run.given.frames_before(latent.shape[2]), run.made(latent.shape[2])
    noisy = torch.cat([latent[:, :, :given].to(state.latent), state.latent[:, :, given:]], dim=2)
    return replace(state, steps=run.schedule.steps * len(cuts), latent=noisy)


def sample_chunks(turns: ChunkTurns, run: CausalRun, state: SamplerState) -> Iterator[SamplerState]:
    """Makes the rest of a video from a state on, and yields the state after every step of every chunk.

    What the model remembers is no part of a state: it is made anew from the finished frames, by one pass for each
    chunk.

    Args:
        state: of `begin_chunks`, or any that this function gave for this run: the rest has the same bits then.

    Raises:
        NumericalError: a step gave NaN or infinity.
    """
    frames, levels = state.latent.shape[2], run.schedule.levels
    if not state.steps:
        yield state
    if state.step == state.steps:
        return
    cuts, memories = run.made(frames), run.memories(frames)
    first = state.step // run.schedule.steps
    for cut in (*run.order.given(frames, run.given.frames_before(frames)), *cuts[:first]):
        _look_at(turns, run, memories, cut, state)
    for number, cut in enumerate(cuts[first:], first):
        memories.begin(cut.length)
        denoiser, given = turns.seeing(cut, memories), run.given.window(cut).to(run.device)
        turns.begin_step(levels[state.step - number * run.schedule.steps])
        for level, following in pairwise(levels[state.step - number * run.schedule.steps :]):
            with torch.no_grad():
                chunk = make_step(denoiser, run.solver, run.chunk(state, number, cut), given, level, following)
            check_step_result(chunk.latent, chunk.step, chunk.steps, level.sigma)
            state = run.merged(state, number, cut, finished(chunk, given))
            yield state
        if cut != cuts[-1]:
            _look_at(turns, run, memories, cut, state)


def _look_at(turns: ChunkTurns, run: CausalRun, memories: Memories, cut: Cut, state: SamplerState) -> None:
    """The model remembers a finished chunk, as it is in the last step."""
    levels = run.schedule.levels
    memories.begin(cut.length)
    turns.begin_step(levels[-2])
    with torch.no_grad():
        turns.seeing(cut, memories).look_at(cut.of(state.latent).to(run.device), run.order.context_noise, levels[:-1])
    memories.keep()
