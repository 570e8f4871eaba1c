"""The tables of the official code."""

from __future__ import annotations

import numpy as np
import torch

from .noise_schedule import TRAINING_TIMESTEPS, NoiseSchedule, ending_at_zero, shift_sigmas


def linear(steps: int, shift: float) -> NoiseSchedule:
    """Evenly spaced from 1 to 0, then shifted: `official_dpm` with fractional timesteps."""
    return ending_at_zero(_linear_from_one(steps, shift))


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
