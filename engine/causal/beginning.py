"""What the run of a causal model starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ...common.records import record
from ...dit.config import DiTConfig
from ...sampling.causal.loop import CausalRun, begin_chunks, sample_chunks
from ...sampling.causal.order import ChunkByChunk
from ...sampling.given import Given
from ...sampling.schedule import NoiseSchedule
from ...sampling.state import SamplerState
from ...sampling.step import NoiseLevel
from ...sampling.windows import Windows
from ..models import VideoModel
from ..sampling.beginning import Beginning, RunBeginning
from ..sampling.experts import Turns
from ..sampling.settings import SamplerSettings

_CPU = torch.device("cpu")


@record(eq=False)
class RepeatedSchedule:
    """The steps of all chunks, one after the other."""

    of_chunk: NoiseSchedule
    chunks: int

    @property
    def steps(self) -> int:
        """Of all of them."""
        return self.of_chunk.steps * self.chunks

    @property
    def levels(self) -> tuple[NoiseLevel, ...]:
        """The noise levels of a chunk, again for each, and the last one's end."""
        *levels, end = self.of_chunk.levels
        return (*levels * self.chunks, end)


@record(eq=False)
class ChunkBeginning:
    """What a causal run starts from, see `RunBeginning`.

    Attributes:
        order: the chunks.
        settings: checked.
        of_chunk: their schedule, which every chunk walks.
        latent: [B, C, T, h, w], normalised.
        noise: of the same shape, to start from; None for that of the seed.
        given: what of the latent to keep as it is.
        config: of the model.
    """

    order: ChunkByChunk
    settings: SamplerSettings
    of_chunk: NoiseSchedule
    latent: Tensor
    noise: Tensor | None
    given: Given
    config: DiTConfig

    @property
    def schedule(self) -> RepeatedSchedule:
        """The steps of all chunks."""
        return RepeatedSchedule(self.of_chunk, len(self._run().made(self.latent.shape[2])))

    @property
    def seed(self) -> int:
        """That of the settings."""
        return self.settings.seed

    @property
    def but_seed(self) -> ChunkBeginning:
        """What it has in common with those that differ in their seed alone, which noise of what is given comes from."""
        given = self.given.with_arranged_noise(torch.zeros_like)
        return replace(self, settings=replace(self.settings, seed=0), given=given)

    def state(self, device: torch.device) -> SamplerState:
        """The state before the first step."""
        return begin_chunks(self._run(device), self.latent.cpu(), self.noise)

    def steps(self, turns: Turns, state: SamplerState, device: torch.device) -> Iterator[SamplerState]:
        """The states after each of the steps that follow `state`."""
        return sample_chunks(turns, self._run(device), state)

    def arranged(self, windows: Windows, references: int) -> ChunkBeginning:
        """Itself: there are no windows."""
        return self

    def finished(self, step: int) -> int:
        """How many latent frames stay as they are after so many steps of all chunks."""
        frames = self.latent.shape[2]
        before = self.given.frames_before(frames)
        done = self._run().made(frames)[: step // self.of_chunk.steps]
        return done[-1].stop if done else before

    def _run(self, device: torch.device = _CPU) -> CausalRun:
        settings = self.settings
        numbers, solver = settings.batch_index, settings.find_solver()
        return CausalRun(self.order, solver, self.of_chunk, self.given, self.seed, numbers, self.config, device)


def beginning_of(
    model: VideoModel,
    settings: SamplerSettings,
    schedule: NoiseSchedule,
    latent: Tensor,
    noise: Tensor | None,
    given: Given,
) -> RunBeginning:
    """What a run starts from that makes frames in the model's order."""
    order = model.policies.order
    if isinstance(order, ChunkByChunk):
        return ChunkBeginning(order, settings, schedule, latent, noise, given, model.spec.config)
    return Beginning(settings, schedule, latent, noise, given)
