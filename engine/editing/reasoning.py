"""What a run starts from that sees a whole clip at first, and then its first and last latent frame; how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ...common.records import record
from ...common.shapes import LatentShape
from ...dit.rope import AS_TRAINED
from ...sampling.experts import Expert
from ...sampling.given import NOTHING_GIVEN
from ...sampling.schedule import NoiseSchedule
from ...sampling.state import SamplerState
from ...sampling.windows import Windows
from ..previews.moving import MovingPicture
from ..previews.preview import Draw, Preview, RunShape
from ..sampling.asked import Sides
from ..sampling.beginning import Beginning
from ..sampling.experts import Beside, GuidedModel, Turns
from ..sampling.settings import SamplerSettings
from .ends import ENDS, sample_to_ends


@record(eq=False)
class ReasonedBeginning:
    """What the run starts from, see `RunBeginning`.

    Attributes:
        whole: with the latent of the whole clip.
        whole_steps: how many of the first steps see it, asked with the prompts beside the run's own.
    """

    whole: Beginning
    whole_steps: int

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise levels to walk."""
        return self.whole.schedule

    @property
    def latent(self) -> Tensor:
        """[B, C, T, h, w] of the whole clip, normalised."""
        return self.whole.latent

    @property
    def seed(self) -> int:
        """Of the noise."""
        return self.whole.seed

    @property
    def but_seed(self) -> ReasonedBeginning:
        """What it has in common with those that differ in their seed alone."""
        return replace(self, whole=self.whole.but_seed)

    def state(self, device: torch.device) -> SamplerState:
        """The state before the first step."""
        return self.whole.state(device)

    def steps(self, turns: Turns, state: SamplerState, device: torch.device) -> Iterator[SamplerState]:
        """The states after each of the steps that follow `state`."""
        return sample_to_ends(turns.beside, turns, self.whole.solver, self.schedule, state, self.whole_steps)

    def arranged(self, windows: Windows, references: int) -> ReasonedBeginning:
        """Itself: it is seen as a whole."""
        return self


def begin_reasoned(
    settings: SamplerSettings, schedule: NoiseSchedule, latent: Tensor, whole_steps: int
) -> ReasonedBeginning:
    """The beginning with the noise of the seed for the whole clip `latent` [B, C, T, h, w]."""
    return ReasonedBeginning(Beginning(settings, schedule, latent, None, NOTHING_GIVEN), whole_steps)


def seen_whole(experts: Mapping[Expert, GuidedModel], sides: Sides) -> Beside:
    """How the experts are asked about the whole clip, with its prompts: its frames lie in time as they were trained."""
    return Beside("whole", sides, {name: expert.guidance for name, expert in experts.items()}, AS_TRAINED)


@record(eq=False)
class ReasonedPreview:
    """The preview of such a run: of the whole clip, and of its ends once they are alone."""

    preview: Preview

    @property
    def weight_bytes(self) -> int:
        return self.preview.weight_bytes

    def working_bytes(self, latent: LatentShape) -> int:
        return self.preview.working_bytes(latent)

    def start(self, run: RunShape, device: torch.device, check: Callable[[], None]) -> Draw:
        whole = self.preview.start(run, device, check)
        ends = self.preview.start(run._replace(latent=run.latent._replace(frames=ENDS)), device, check)

        def draw(denoised: Tensor) -> MovingPicture | None:
            return (ends if denoised.shape[2] == ENDS else whole)(denoised)

        return draw
