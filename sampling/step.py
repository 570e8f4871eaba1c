"""The points of a noise schedule, and the arithmetic of flow matching at one of them.

Flow matching mixes a clean latent and noise linearly: x = (1 - sigma) * clean + sigma * noise, so that the signal
weight is alpha = 1 - sigma. The model predicts velocity = noise - clean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field, replace

from torch import Tensor

from ..common.records import record


@record
class Course:
    """The schedule that a level is a point of, for solvers that look ahead or at the whole of it.

    Attributes:
        sigmas: of all its levels, the end included.
        timesteps: what the model is told at each.
        shift: of the schedule, see `schedule.make_schedule`.
        highest: its first sigma as the user chose it, see `NoiseSchedule.from_below_one`.
    """

    sigmas: tuple[float, ...] = ()
    timesteps: tuple[float, ...] = ()
    shift: float = 1.0
    highest: float = 1.0

    @property
    def lowest(self) -> float:
        """Its last sigma above 0."""
        return min(sigma for sigma in self.sigmas if sigma > 0.0)


@record
class NoiseLevel:
    """One point of a schedule.

    `index` counts from 0 (the noisiest point) to `steps` (the end); `sigma` is in 0..1; `timestep` is what the model
    is told, 0..1000; `course` is the schedule.
    """

    index: int
    steps: int
    sigma: float
    timestep: float
    course: Course = field(default=Course(), repr=False, compare=False)

    @property
    def alpha(self) -> float:
        """Weight of the clean latent."""
        return 1.0 - self.sigma

    @property
    def is_last_step(self) -> bool:
        """Whether the step that starts here ends the schedule."""
        return self.index == self.steps - 1

    def moved(self, sigma: float, timestep: float | None = None) -> NoiseLevel:
        """The level of another sigma that the step from here asks at; its timestep is sigma * 1000 if not given."""
        return replace(self, sigma=sigma, timestep=1000.0 * sigma if timestep is None else timestep)


Predict = Callable[[Tensor, NoiseLevel], Tensor]
"""(latent [B, C, T, h, w], level) -> velocity of the same shape, float32."""


def half_log_snr(sigma: float) -> float:
    """lambda = log(alpha / sigma), the time in which the exponential integrators step; infinite at sigma 0 and 1.

    Source: Lu et al., "DPM-Solver++", arXiv 2211.01095, section 2.1, with alpha = 1 - sigma.
    """
    if sigma <= 0.0:
        return math.inf
    if sigma >= 1.0:
        return -math.inf
    return math.log(1.0 - sigma) - math.log(sigma)


def predict_denoised(predict: Predict, latent: Tensor, level: NoiseLevel) -> Tensor:
    """The model's guess of the clean latent: latent - sigma * velocity."""
    return latent - level.sigma * predict(latent, level)
