"""What a run starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...sampling.given import Given
from ...sampling.loop import begin
from ...sampling.schedule import NoiseSchedule
from ...sampling.solvers import Solver
from ...sampling.state import SamplerState
from .settings import SamplerSettings


@dataclass(frozen=True, slots=True, eq=False)
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
        """What it has in common with those that differ in their seed alone."""
        return replace(self, settings=replace(self.settings, seed=0))

    def state(self, device: torch.device) -> SamplerState:
        """The state before the first step."""
        latent, seed = self.latent.to(device), self.settings.seed
        return begin(self.solver, self.schedule, latent, seed=seed, noise=self.noise)
