"""What a run starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ...common.records import record
from ...common.shapes import LatentShape
from ...sampling.given import Given
from ...sampling.loop import begin, sample
from ...sampling.noise import seeded_noise
from ...sampling.schedule import NoiseSchedule
from ...sampling.solvers import Solver
from ...sampling.state import SamplerState
from ...sampling.step import NoiseLevel
from ...sampling.windows import WHOLE_CLIP, Windows
from .experts import Turns
from .settings import SamplerSettings


class Walked(Protocol):
    """The noise levels that a run walks, see `NoiseSchedule`."""

    @property
    def steps(self) -> int:
        """How many steps there are."""
        ...

    @property
    def levels(self) -> tuple[NoiseLevel, ...]:
        """Where each begins, and the end."""
        ...


class RunBeginning(Protocol):
    """What a run starts from, and how it goes on: of `Beginning`, of an edit, and of a causal run."""

    @property
    def schedule(self) -> Walked:
        """The noise levels to walk."""
        ...

    @property
    def latent(self) -> Tensor:
        """[B, C, T, h, w], normalised."""
        ...

    @property
    def seed(self) -> int:
        """Of the noise."""
        ...

    @property
    def but_seed(self) -> RunBeginning:
        """What it has in common with those that differ in their seed alone."""
        ...

    def state(self, device: torch.device) -> SamplerState:
        """The state before the first step."""
        ...

    def steps(self, turns: Turns, state: SamplerState, device: torch.device) -> Iterator[SamplerState]:
        """The states after each of the steps that follow `state`."""
        ...

    def arranged(self, windows: Windows, references: int) -> RunBeginning:
        """The same with the noise that these windows start from."""
        ...


@record(eq=False)
class Beginning:
    """What a run starts from.

    Attributes:
        settings: checked.
        schedule: theirs.
        latent: [B, C, T, h, w], normalised.
        noise: [B, C, T, h, w] to start from; drawn from the seed when not given.
        given: what of the latent to keep as it is.
    """

    settings: SamplerSettings
    schedule: NoiseSchedule
    latent: Tensor
    noise: Tensor | None
    given: Given

    @property
    def solver(self) -> Solver:
        """That of the settings."""
        return self.settings.find_solver()

    @property
    def but_seed(self) -> Beginning:
        """What it has in common with those that differ in their seed alone, which noise of what is given comes from."""
        given = self.given.with_arranged_noise(torch.zeros_like)
        return replace(self, settings=replace(self.settings, seed=0), given=given)

    @property
    def seed(self) -> int:
        """That of the settings."""
        return self.settings.seed

    def state(self, device: torch.device) -> SamplerState:
        """The state before the first step."""
        latent, numbers = self.latent.to(device), self.settings.batch_index
        return begin(self.solver, self.schedule, latent, seed=self.seed, noise=self.noise, batch_index=numbers)

    def steps(self, turns: Turns, state: SamplerState, device: torch.device) -> Iterator[SamplerState]:
        """The states after each of the steps that follow `state`."""
        return sample(turns, self.solver, self.schedule, state, self.given.to(device))

    def arranged(self, windows: Windows, references: int) -> Beginning:
        """The same with the noise that these windows start from.

        Args:
            references: latent frames of pictures before the video, whose noise stays.
        """
        if windows == WHOLE_CLIP:
            return self
        noise = self.noise
        if noise is None:
            shape = LatentShape(*self.latent.shape[1:])
            noise = seeded_noise(self.seed, shape, len(self.latent), self.settings.batch_index)
        arrange = partial(windows.noise, seed=self.seed, references=references)
        return replace(self, noise=arrange(noise), given=self.given.with_arranged_noise(arrange))
