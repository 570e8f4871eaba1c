"""Noise schedules: at which noise levels the model is asked, computed in float64 on the CPU.

A schedule named here is a function (steps, shift) -> NoiseSchedule; `SCHEDULES` is the table a user chooses from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..common.errors import MissingPackageError
from ..common.log import logger
from .step import NoiseLevel
from .validation import check_denoise, check_schedule_length, check_shift, check_sigmas, check_steps, find_choice

TRAINING_TIMESTEPS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSchedule:
    """The noise levels of one run.

    Attributes:
        sigmas: [steps + 1], float64, CPU, falling; begins at most at 1, ends at 0 unless a user's own table does not.
        timesteps: [steps], float64, CPU: what the model is told at each sigma but the last.
        starts_from_noise: whether a run begins with plain noise even where the first sigma is below 1, as the official
            code and diffusers do. Part of a schedule, and a user's own table, begin with a mixture as in native nodes.
    """

    sigmas: Tensor
    timesteps: Tensor
    starts_from_noise: bool = False

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
        timesteps = [*self.timesteps.tolist(), float(self.sigmas[-1]) * TRAINING_TIMESTEPS]
        pairs = zip(self.sigmas.tolist(), timesteps)
        return tuple(NoiseLevel(index, self.steps, *pair) for index, pair in enumerate(pairs))

    def last_steps(self, steps: int) -> NoiseSchedule:
        """The part of this schedule that its last `steps` steps walk."""
        first = max(self.steps - steps, 0)
        return NoiseSchedule(self.sigmas[first:], self.timesteps[first:], self.starts_from_noise and first == 0)

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
        return NoiseSchedule(sigmas, self.timesteps[first:last], self.starts_from_noise and first == 0)

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
        return NoiseSchedule(sigmas, timesteps, starts_from_noise=True)


NO_STEPS = NoiseSchedule(torch.zeros(1, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
"""The schedule that leaves a latent as it is."""


def make_schedule(
    name: str, steps: int, shift: float, denoise: float = 1.0, *, without_penultimate: bool = False
) -> NoiseSchedule:
    """The schedule `name` for `steps` steps.

    Args:
        name: a key of `SCHEDULES`.
        steps: number of steps, 0..1000.
        shift: how much of the schedule is spent at high noise; sigma -> shift * sigma / (1 + (shift - 1) * sigma).
        denoise: part of the schedule that is walked, 0..1. Below 1, the schedule of int(steps / denoise) steps is
            made and its last `steps` steps are kept, so that the run begins at a sigma below 1 (video to video).
        without_penultimate: the schedule has one step more, and its last sigma above 0 is left out; see
            `solvers.WITHOUT_PENULTIMATE`.

    Returns:
        A schedule with `steps` steps (a `beta` schedule of many steps may have fewer), or with none when `steps`
        or `denoise` is 0.

    Raises:
        InvalidInputError: unknown name, or a number out of its range.

    Source: comfyanonymous/ComfyUI comfy/samplers.py, set_steps, for the meaning of denoise.
    """
    check_steps(steps)
    check_shift(shift)
    check_denoise(denoise)
    schedule = find_choice(SCHEDULES, name, "schedule")
    if steps == 0 or denoise == 0.0:
        return NO_STEPS
    check_schedule_length(steps, denoise, more=without_penultimate)
    whole = schedule(int(steps / denoise) + without_penultimate, shift)
    return (whole.without_penultimate() if without_penultimate else whole).last_steps(steps)


def from_sigmas(sigmas: Tensor) -> NoiseSchedule:
    """The schedule of a given table of sigmas; the model is told sigma * 1000.

    Args:
        sigmas: [steps + 1], in 0..1, strictly falling; empty (what ComfyUI's schedulers give at denoise 0) and of one
            value means no steps.

    Raises:
        InvalidInputError: the table leaves 0..1 or rises somewhere.
    """
    sigmas = sigmas.detach().to("cpu", torch.float64)
    check_sigmas(sigmas)
    if len(sigmas) == 0:
        return NO_STEPS
    sigmas = sigmas.clamp(max=1.0)
    return NoiseSchedule(sigmas, sigmas[:-1] * TRAINING_TIMESTEPS)


def shift_sigmas(sigmas: np.ndarray, shift: float) -> np.ndarray:
    """Moves sigmas in 0..1 towards 1: the noise-to-signal ratio sigma / (1 - sigma) is multiplied by `shift`.

    Source: Esser et al., "Scaling Rectified Flow Transformers", arXiv 2403.03206, equation 23.
    """
    # Rounding can lift a sigma of 1 just above it. The formula itself stays as official code writes it: whole timesteps
    # depend on its last bit.
    return np.minimum(shift * sigmas / (1 + (shift - 1) * sigmas), 1.0)


def simple(steps: int, shift: float) -> NoiseSchedule:
    """Every (1000 / steps)-th entry of the 1000 shifted training sigmas, from 1 downwards.

    Source: comfyanonymous/ComfyUI comfy/samplers.py simple_scheduler, on the table of
    comfy/model_sampling.py ModelSamplingDiscreteFlow.
    """
    indices = [TRAINING_TIMESTEPS - int(step * (TRAINING_TIMESTEPS / steps)) for step in range(steps)]
    return _ending_at_zero(shift_sigmas(np.array(indices) / TRAINING_TIMESTEPS, shift))


def linear(steps: int, shift: float) -> NoiseSchedule:
    """Evenly spaced from 1 to 0, then shifted: `official_dpm` with fractional timesteps."""
    return _ending_at_zero(_linear_from_one(steps, shift))


def normal(steps: int, shift: float) -> NoiseSchedule:
    """Evenly spaced between the first and last shifted training timestep, then shifted (once more).

    Source: comfyanonymous/ComfyUI comfy/samplers.py normal_scheduler; the same table as FlowMatchEulerDiscreteScheduler
    of huggingface/diffusers.
    """
    last = shift_sigmas(np.array(1.0 / TRAINING_TIMESTEPS), shift)
    return _ending_at_zero(shift_sigmas(np.linspace(1.0, last, steps), shift))


def beta(steps: int, shift: float) -> NoiseSchedule:
    """Training sigmas at the quantiles of the Beta(0.6, 0.6) distribution: denser at both ends.

    Quantiles that fall on the same training sigma count once, so that many steps give a shorter schedule.

    Raises:
        MissingPackageError: scipy is not installed.

    Source: Lee et al., "Beta Sampling is All You Need", arXiv 2407.12173; rounding as in comfyanonymous/ComfyUI
    comfy/samplers.py beta_scheduler.
    """
    try:
        from scipy.stats import beta as beta_distribution
    except ImportError as error:
        raise MissingPackageError(
            "scipy is not installed, and the schedule 'beta' needs it. Install it with `pip install scipy`, or choose "
            "the schedule 'simple'."
        ) from error
    quantiles = beta_distribution.ppf(1 - np.linspace(0, 1, steps, endpoint=False), 0.6, 0.6)
    indices = np.unique(np.rint(quantiles * (TRAINING_TIMESTEPS - 1)))[::-1]
    if len(indices) < steps:
        logger.info("The schedule 'beta' has %d different noise levels for %d steps.", len(indices), steps)
    return _ending_at_zero(shift_sigmas((indices + 1) / TRAINING_TIMESTEPS, shift))


def karras(steps: int, shift: float) -> NoiseSchedule:
    """Karras spacing (rho 7) of the noise-to-signal ratio, from sigma 0.999 to 0.001, then shifted.

    The original spaces the noise level of x = clean + ratio * noise; for flow matching that is sigma / (1 - sigma).
    `karras_native` spaces sigma itself, which leaves few steps at high noise.

    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364,
    equation 5.
    """
    ratios = _karras_spacing(999.0, 1 / 999.0, steps)
    return _ending_at_zero(shift_sigmas(ratios / (1 + ratios), shift))


def karras_native(steps: int, shift: float) -> NoiseSchedule:
    """Karras spacing (rho 7) of sigma itself, from 1 to the first shifted training sigma.

    Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py get_sigmas_karras, with the sigma_min and sigma_max of
    comfy/model_sampling.py ModelSamplingDiscreteFlow: what its scheduler 'karras' gives for a flow model.
    """
    last = float(shift_sigmas(np.array(1.0 / TRAINING_TIMESTEPS), shift))
    return _ending_at_zero(_karras_spacing(1.0, last, steps))


def _karras_spacing(first: float, last: float, steps: int) -> np.ndarray:
    rho = 7.0
    return np.linspace(first ** (1 / rho), last ** (1 / rho), steps) ** rho


def official(steps: int, shift: float) -> NoiseSchedule:
    """The UniPC table of the official code: from 0.999, sigmas rounded to float32, timesteps cut to whole numbers.

    Source: Wan-Video/Wan2.1 wan/utils/fm_solvers_unipc.py, set_timesteps.
    """
    first = float(np.float32(1.0 - 1.0 / TRAINING_TIMESTEPS))
    return _official(shift_sigmas(np.linspace(first, 0, steps + 1)[:-1], shift))


def official_dpm(steps: int, shift: float) -> NoiseSchedule:
    """The DPM++ table of the official code: from 1, sigmas rounded to float32, timesteps cut to whole numbers.

    Source: Wan-Video/Wan2.1 wan/utils/fm_solvers.py, get_sampling_sigmas and set_timesteps.
    """
    return _official(_linear_from_one(steps, shift))


def _linear_from_one(steps: int, shift: float) -> np.ndarray:
    return shift_sigmas(np.linspace(1, 0, steps + 1)[:-1], shift)


def _official(sigmas: np.ndarray) -> NoiseSchedule:
    timesteps = np.trunc(sigmas * TRAINING_TIMESTEPS)
    rounded = np.append(sigmas, 0.0).astype(np.float32).astype(np.float64)
    return NoiseSchedule(torch.from_numpy(rounded), torch.from_numpy(timesteps), starts_from_noise=True)


def _ending_at_zero(sigmas: np.ndarray) -> NoiseSchedule:
    ended = torch.from_numpy(np.append(sigmas, 0.0))
    return NoiseSchedule(ended, ended[:-1] * TRAINING_TIMESTEPS, starts_from_noise=True)


SCHEDULES: dict[str, Callable[[int, float], NoiseSchedule]] = {
    "simple": simple,
    "linear": linear,
    "official": official,
    "official_dpm": official_dpm,
    "beta": beta,
    "normal": normal,
    "karras": karras,
    "karras_ratio": karras,  # its true name; the older one is that of native's `karras_native`
    "karras_native": karras_native,
}
