"""What an edit starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ...common.records import record
from ...sampling.editing import EditedClip, begin_edit, edit
from ...sampling.schedule import NoiseSchedule
from ...sampling.state import SamplerState
from ...sampling.windows import WHOLE_CLIP, Windows
from ..sampling.experts import Turns
from .settings import EditSettings


@record(eq=False)
class EditBeginning:
    """What an edit starts from, see `RunBeginning`.

    Attributes:
        settings: checked.
        schedule: theirs.
        clip: what is edited.
    """

    settings: EditSettings
    schedule: NoiseSchedule
    clip: EditedClip

    @property
    def latent(self) -> Tensor:
        """The clip as it is: [B, C, T, h, w], normalised."""
        return self.clip.source

    @property
    def seed(self) -> int:
        """That of the settings."""
        return self.settings.seed

    @property
    def but_seed(self) -> EditBeginning:
        """What it has in common with those that differ in their seed alone."""
        return replace(self, settings=replace(self.settings, seed=0))

    def state(self, device: torch.device) -> SamplerState:
        """The state before the first step."""
        latent, numbers = self.latent.to(device), self.settings.batch_index
        return begin_edit(self.schedule, latent, seed=self.seed, batch_index=numbers)

    def steps(self, turns: Turns, state: SamplerState, device: torch.device) -> Iterator[SamplerState]:
        """The states after each of the steps that follow `state`."""
        return edit(turns.start, turns.start_beside, self.schedule, state, self.clip.to(device))

    def arranged(self, windows: Windows, references: int) -> EditBeginning:
        """The same with the noise that these windows start from."""
        if windows == WHOLE_CLIP:
            return self
        arrange = partial(windows.noise, seed=self.seed, references=references)
        return replace(self, clip=replace(self.clip, arrange=arrange))
