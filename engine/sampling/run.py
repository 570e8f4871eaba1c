"""A run of which all is known that can be known before it: planned, or walked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...sampling.experts import Expert
from ...sampling.step import NoiseLevel
from ..memory import Job
from ..models import VideoModel
from ..previews.preview import Preview
from ..runtime import Work
from .beginning import RunBeginning
from .told import tell_tally
from .turn import SamplingRun
from .walk import walk
from .work import choices_of, shape_of


class SampledLatent(NamedTuple):
    """What a run gives, both [B, C, T, h, w], normalised, float32, CPU.

    `latent`: its result. `denoised`: the model's guess of the clean latent in the last step, which is another one where
    a run stops early; of a run without steps, the latent that it was given.
    """

    latent: Tensor
    denoised: Tensor


def work_of(
    model: VideoModel,
    whole: SamplingRun,
    beginning: RunBeginning,
    expert_at: Callable[[NoiseLevel], Expert],
    jobs: Mapping[Expert, Job],
    preview: Preview,
) -> Work[SampledLatent]:
    """A run of which all is known, for the runtime to perform.

    Args:
        model: of the first steps.
        whole: the experts and what they need, but for `choices`.
        beginning: what the run starts from.
        expert_at: who makes the step that begins at a noise level.
        jobs: what each expert has to do.
        preview: how the run is shown.
    """
    latent, sides = whole.latent, whole.sides

    def run() -> SampledLatent:
        choices = choices_of(whole.experts, jobs)
        shape = shape_of(latent, sides, jobs.values())
        draw = preview.start(shape, model.residence.device, model.runtime.check_interrupt)
        state = walk(model, replace(whole, choices=choices), beginning, expert_at, draw)
        tell_tally(state)
        return SampledLatent(state.latent.cpu(), state.denoised.cpu())

    return Work(run, partial(_outline, latent.shape), tuple(jobs.values()))


def _outline(shape: Sequence[int]) -> SampledLatent:
    return SampledLatent(*(torch.empty(shape, device="meta") for _ in SampledLatent._fields))
