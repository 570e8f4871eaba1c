"""A run of which all is known that can be known before it: planned, or walked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...sampling.experts import Expert
from ...sampling.state import SamplerState
from ...sampling.step import NoiseLevel
from ..memory import Job
from ..models import VideoModel
from ..previews.preview import Preview
from ..runtime import Request, Work
from .beginning import RunBeginning
from .told import tell_tally
from .turn import SamplingRun
from .walk import walked
from .work import choices_of, shape_of


class SampledLatent(NamedTuple):
    """What a run gives, both [B, C, T, h, w], normalised, float32, CPU.

    `latent`: its result. `denoised`: the model's guess of the clean latent in the last step, which is another one where
    a run stops early; of a run without steps, the latent that it was given.
    """

    latent: Tensor
    denoised: Tensor


class ReadyRun(NamedTuple):
    """A run of which all is known.

    Attributes:
        model: of the first steps.
        whole: the experts and what they need, but for `choices`.
        beginning: what the run starts from.
        expert_at: who makes the step that begins at a noise level.
        jobs: what each expert has to do.
        preview: how the run is shown.
        request: gives it again, in another process.
    """

    model: VideoModel
    whole: SamplingRun
    beginning: RunBeginning
    expert_at: Callable[[NoiseLevel], Expert]
    jobs: Mapping[Expert, Job]
    preview: Preview
    request: Request

    @property
    def work(self) -> Work[SampledLatent]:
        """All of it, for the runtime to perform."""
        return Work(self._sampled, partial(_outline, self.whole.latent.shape), tuple(self.jobs.values()))

    def states(self) -> Iterator[SamplerState]:
        """See `walked`: the models are on the device until the last of them was taken."""
        model, device, wanted = self.model, self.model.residence.device, self.whole.memory
        with model.runtime.shared(self.request, wanted.gpus, device) as sharing:
            memory = wanted.of_one(sharing.devices, device)
            whole = replace(self.whole, memory=memory, sharing=sharing)
            choices = choices_of(whole.experts, {name: replace(job, memory=memory) for name, job in self.jobs.items()})
            shape = shape_of(whole.latent, whole.sides, self.jobs.values())
            draw = self.preview.start(shape, device, model.runtime.check_interrupt)
            yield from walked(model, replace(whole, choices=choices), self.beginning, self.expert_at, draw)

    def join(self) -> None:
        """See `Shareable.join`."""
        deque(self.states(), maxlen=0)

    def _sampled(self) -> SampledLatent:
        (state,) = deque(self.states(), maxlen=1)
        tell_tally(state)
        return SampledLatent(state.latent.cpu(), state.denoised.cpu())


def _outline(shape: Sequence[int]) -> SampledLatent:
    return SampledLatent(*(torch.empty(shape, device="meta") for _ in SampledLatent._fields))
