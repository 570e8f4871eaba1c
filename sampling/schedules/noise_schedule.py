"""The noise levels of one run, and parts of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...common.records import record
from ..step import Course, NoiseLevel

TRAINING_TIMESTEPS = 1000


@record(eq=False)
class NoiseSchedule:
    """The noise levels of one run.

    Attributes:
        sigmas: [steps + 1], float64, CPU, falling; begins at most at 1, ends at 0 unless a user's own table does not.
        timesteps: [steps], float64, CPU: what the model is told at each sigma but the last.
        starts_from_noise: whether a run begins with plain noise even where the first sigma is below 1, as the official
            code and diffusers do. Part of a schedule, and a user's own table, begin with a mixture as in native nodes.
        shift: what it was made with, for solvers that count the way by it.
        moved_from_one: whether its first sigma is 1 for the user, see `from_below_one`.
    """

    sigmas: Tensor
    timesteps: Tensor
    starts_from_noise: bool = False
    shift: float = 1.0
    moved_from_one: bool = False

    @property
    def steps(self) -> int:
        """Number of steps; 0 means that nothing is sampled."""
        return len(self.timesteps)

    @property
    def noise_weight(self) -> float:
        """The part of noise in the latent that a run begins with, 0..1; the rest is the given latent."""
        return 1.0 if self.starts_from_noise else float(self.sigmas[0])

    @property
    def levels(self) -> tuple[NoiseLevel, ...]:
        """The `steps` + 1 points of the schedule, noisiest first."""
        sigmas = tuple(self.sigmas.tolist())
        timesteps = (*self.timesteps.tolist(), sigmas[-1] * TRAINING_TIMESTEPS)
        course = Course(sigmas, timesteps, self.shift, 1.0 if self.moved_from_one else sigmas[0])
        return tuple(NoiseLevel(index, self.steps, *pair, course) for index, pair in enumerate(zip(sigmas, timesteps)))

    def last_steps(self, steps: int) -> NoiseSchedule:
        """The part of this schedule that its last `steps` steps walk."""
        first = max(self.steps - steps, 0)
        return self._from(first, self.sigmas[first:], self.timesteps[first:])

    def part(self, first: int, last: int | None = None, *, ends_clean: bool = False) -> NoiseSchedule:
        """The steps from number `first` up to, and without, number `last`; none where that leaves none.

        Args:
            first: 0 is the first step.
            last: None, and any number beyond the last step, for all that follow.
            ends_clean: whether a part that stops early makes its last step down to sigma 0.

        Source: comfyanonymous/ComfyUI comfy/samplers.py, `sample` beside set_steps, for the meaning.
        """
        last = self.steps if last is None else min(last, self.steps)
        if first >= last:
            return NO_STEPS
        sigmas = self.sigmas[first : last + 1]
        if ends_clean:
            sigmas = torch.cat([sigmas[:-1], torch.zeros_like(sigmas[-1:])])
        return self._from(first, sigmas, self.timesteps[first:last])

    def without_penultimate(self) -> NoiseSchedule:
        """This schedule without its last sigma but one: a step less, the last one longer."""
        return replace(self, sigmas=torch.cat([self.sigmas[:-2], self.sigmas[-1:]]), timesteps=self.timesteps[:-1])

    def from_below_one(self, shift: float) -> NoiseSchedule:
        """This schedule with a first sigma of 1 moved to that of a ten-thousandth of the way; noise stays plain.

        Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, offset_first_sigma_for_snr.
        """
        if self.steps == 0 or self.sigmas[0] < 1.0:
            return self
        first = torch.from_numpy(shift_sigmas(np.array([1.0 - 1e-4]), shift))
        sigmas = torch.cat([first, self.sigmas[1:]])
        timesteps = torch.cat([first * TRAINING_TIMESTEPS, self.timesteps[1:]])
        return NoiseSchedule(sigmas, timesteps, starts_from_noise=True, shift=shift, moved_from_one=True)

    def _from(self, first: int, sigmas: Tensor, timesteps: Tensor) -> NoiseSchedule:
        """A part that begins with step number `first`."""
        is_start = first == 0
        return replace(
            self,
            sigmas=sigmas,
            timesteps=timesteps,
            starts_from_noise=self.starts_from_noise and is_start,
            moved_from_one=self.moved_from_one and is_start,
        )


NO_STEPS = NoiseSchedule(torch.zeros(1, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
"""The schedule that leaves a latent as it is."""


def shift_sigmas(sigmas: np.ndarray, shift: float) -> np.ndarray:
    """Moves sigmas in 0..1 towards 1: the noise-to-signal ratio sigma / (1 - sigma) is multiplied by `shift`.

    Source: Esser et al., "Scaling Rectified Flow Transformers", arXiv 2403.03206, equation 23.
    """
    # Rounding can lift a sigma of 1 just above it. The formula itself stays as official code writes it: whole timesteps
    # depend on its last bit.
    return np.minimum(shift * sigmas / (1 + (shift - 1) * sigmas), 1.0)


def lowest_training_sigma(shift: float) -> float:
    """The shifted sigma of the first training timestep, at which native tables end before 0."""
    return float(shift_sigmas(np.array(1.0 / TRAINING_TIMESTEPS), shift))


def ending_at_zero(sigmas: np.ndarray, *, starts_from_noise: bool = True) -> NoiseSchedule:
    """The schedule of these sigmas, with a last one of 0, whose model is told sigma * 1000."""
    ended = torch.from_numpy(np.append(sigmas, 0.0))
    return NoiseSchedule(ended, ended[:-1] * TRAINING_TIMESTEPS, starts_from_noise)
