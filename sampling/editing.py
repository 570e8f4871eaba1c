"""A clip changed by words: FlowEdit, which follows where one text leads away from another.

Source: Kulikov et al., "FlowEdit: Inversion-Free Text-Based Editing Using Pre-Trained Flow Models", arXiv 2412.08629,
algorithm 1 with one noise a step (n_avg 1) and down to the end (n_min 0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.records import record
from .ask import NEGATIVE, Ask
from .cache import Kept
from .denoiser import Prediction
from .guidance import Memory
from .loop import check_state
from .noise import NoiseState, add_noise, step_noise
from .schedule import NoiseSchedule
from .solvers import SolverRecord
from .state import SamplerState
from .step import NoiseLevel
from .validation import check_latent, check_step_result

Start = Callable[[Kept], Prediction]
"""The predictor of one step, with what the step before it left in the cache; see `Denoising.start`."""

MASK_SIGMA = 0.85
"""The noise level at which two texts are compared: below it less of where they disagree is found."""
MASK_NOISES = 3
_THRESHOLD, _PERCENTILE = 0.3, 0.98


def as_drawn(noise: Tensor) -> Tensor:
    """The noise itself."""
    return noise


@record(eq=False)
class EditedClip:
    """What is edited.

    Attributes:
        source: [B, C, T, h, w], float32, normalised: the clip as it is.
        mask: [1 or B, 1 or C, T, h, w], float, 0..1: how much of the change counts; where it is 0, the clip stays as it
            is to the bit.
        arrange: what the noise of a step becomes, for windows.
    """

    source: Tensor
    mask: Tensor
    arrange: Callable[[Tensor], Tensor] = as_drawn

    def to(self, device: torch.device) -> EditedClip:
        """The same on a device."""
        return EditedClip(self.source.to(device), self.mask.to(device), self.arrange)

    def moved(self, latent: Tensor, change: Tensor) -> Tensor:
        """`latent` and `change` together, as far as the mask goes."""
        return torch.where(self.mask == 0, self.source, latent + self.mask * change)


@record
class NegativeAlone:
    """The guidance that asks with the negative prompt alone: for a clip of which no text says what it shows.

    Source: FlowEdit guides the source's velocity with a source text; guidance of which both sides are one text is that
    text's velocity at any scale.
    """

    def asks(self, level: NoiseLevel) -> tuple[Ask, ...]:
        """The negative side."""
        return (NEGATIVE,)

    def velocity(self, answers: Sequence[Tensor], level: NoiseLevel, latent: Tensor, memory: Memory) -> Tensor:
        """The answer itself."""
        return answers[0]


def begin_edit(
    schedule: NoiseSchedule, latent: Tensor, *, seed: int, batch_index: Sequence[int] | None = None
) -> SamplerState:
    """The state before the first step: the clip as it is.

    Args:
        schedule: the steps to make; with none the clip stays as it is.
        latent: [B, C, T, h, w], normalised.
        seed: 0 .. 2^64 - 1, of the steps' noises, none of which a run with this seed starts from.
        batch_index: the numbers of the clips among the noises of the seed; None for the first.

    Raises:
        InvalidInputError: a latent or seed that cannot be edited with.
    """
    check_latent(latent)
    sigma = float(schedule.sigmas[0])
    record = SolverRecord(step_noise(seed, len(latent), batch_index))
    return SamplerState(0, schedule.steps, sigma, latent, latent, record)


def edit(
    target: Start, source: Start, schedule: NoiseSchedule, state: SamplerState, clip: EditedClip
) -> Iterator[SamplerState]:
    """Walks the rest of an edit, and yields the state after every step.

    Each step noises the clip anew, gives the edit so far the same noise, and moves it by the difference of what the
    model says of both: with equal texts and scales that is 0, and the clip stays as it is to the bit.

    Args:
        target: asks the model about the edit, by what it is to show.
        source: asks the model about the clip, by what it shows.
        schedule: the one that the state comes from. Without steps, the state itself is yielded.
        state: of `begin_edit`, or any that this function gave for this run: the rest has the same bits then.

    Raises:
        InvalidInputError: the state is of another schedule.
        NumericalError: a step gave NaN or infinity.
    """
    check_state(state, schedule)
    if schedule.steps == 0:
        yield state
        return
    for level, following in pairwise(schedule.levels[state.step :]):
        with torch.no_grad():
            state = _step(target, source, state, clip, level, following)
        check_step_result(state.latent, state.step, state.steps, level.sigma)
        yield state


def _step(
    target: Start, source: Start, state: SamplerState, clip: EditedClip, level: NoiseLevel, following: NoiseLevel
) -> SamplerState:
    drawn, noise = state.solver.noise.draw(clip.source)
    noisy = add_noise(clip.source, clip.arrange(drawn), level.sigma)
    shown = source(state.cache)
    away = shown(noisy, level)
    wanted = target({**state.cache, **shown.kept})  # what is counted goes on
    # The difference first: where nothing has changed yet, both are asked about the same bits.
    velocity = wanted(noisy + (state.latent - clip.source), level) - away
    return SamplerState(
        step=following.index,
        steps=following.steps,
        sigma=following.sigma,
        latent=clip.moved(state.latent, (following.sigma - level.sigma) * velocity),
        denoised=clip.moved(state.latent, -level.sigma * velocity),
        solver=SolverRecord(noise),
        cache={**shown.kept, **wanted.kept},
    )


def disagreement(
    target: Start, source: Start, clip: EditedClip, level: NoiseLevel, noise: NoiseState
) -> Iterator[Tensor]:
    """How far two texts want a clip elsewhere: [B, 1, T, h, w], for each of several noises; their mean counts."""
    for _ in range(MASK_NOISES):
        drawn, noise = noise.draw(clip.source)
        with torch.no_grad():
            noisy = add_noise(clip.source, clip.arrange(drawn), level.sigma)
            difference = target({})(noisy, level) - source({})(noisy, level)
        yield difference.abs().mean(dim=1, keepdim=True)


def mask_of(disagreements: Sequence[Tensor]) -> Tensor:
    """Where two texts disagree: [B, 1, T, h, w], float32, 0 or 1; nowhere, if they agree.

    What reaches 0.3 of the 98th percentile, and one latent pixel around it: on made clips that found only what belongs
    to the object, and too little of it.

    Args:
        disagreements: of `disagreement`.
    """
    mean = torch.stack(list(disagreements)).mean(dim=0)
    high = torch.quantile(mean.flatten(1).float(), _PERCENTILE, dim=1).view(-1, 1, 1, 1, 1)
    found = (mean > _THRESHOLD * high).float()
    return F.max_pool3d(found, kernel_size=(1, 3, 3), stride=1, padding=(0, 1, 1))
