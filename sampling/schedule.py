"""Noise schedules: at which noise levels the model is asked, computed in float64 on the CPU.

A schedule named here is a function (steps, shift) -> NoiseSchedule; `SCHEDULES` is the table a user chooses from.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .schedules import SCHEDULES
from .schedules.noise_schedule import NO_STEPS, TRAINING_TIMESTEPS, NoiseSchedule, shift_sigmas
from .validation import check_denoise, check_schedule_length, check_shift, check_sigmas, check_steps, find_choice

__all__ = ["NO_STEPS", "SCHEDULES", "NoiseSchedule", "from_sigmas", "make_schedule", "shift_sigmas"]


def make_schedule(
    name: str, steps: int, shift: float, denoise: float = 1.0, *, without_penultimate: bool = False
) -> NoiseSchedule:
    """The schedule `name` for `steps` steps.

    Args:
        name: a key of `SCHEDULES`.
        steps: number of steps, 1..1000.
        shift: how much of the schedule is spent at high noise; sigma -> shift * sigma / (1 + (shift - 1) * sigma).
        denoise: part of the schedule that is walked, 0..1. Below 1, the schedule of int(steps / denoise) steps is
            made and its last `steps` steps are kept, so that the run begins at a sigma below 1 (video to video).
        without_penultimate: the schedule has one step more, and its last sigma above 0 is left out; see
            `solvers.WITHOUT_PENULTIMATE`.

    Returns:
        A schedule with `steps` steps (a `beta` schedule of many steps may have fewer, and a `ddim_uniform` one has as
        many as fit), or with none when `denoise` is 0.

    Raises:
        InvalidInputError: unknown name, or a number out of its range.

    Source: comfyanonymous/ComfyUI comfy/samplers.py, set_steps, for the meaning of denoise.
    """
    check_steps(steps)
    check_shift(shift)
    check_denoise(denoise)
    schedule = find_choice(SCHEDULES, name, "schedule")
    if denoise == 0.0:
        return NO_STEPS
    check_schedule_length(steps, denoise, more=without_penultimate)
    whole = schedule(int(steps / denoise) + without_penultimate, shift)
    whole = replace(whole.without_penultimate() if without_penultimate else whole, shift=shift)
    return whole.last_steps(steps) if denoise < 1.0 else whole


def from_sigmas(sigmas: Tensor, shift: float = 1.0) -> NoiseSchedule:
    """The schedule of a given table of sigmas; the model is told sigma * 1000.

    Args:
        sigmas: [steps + 1], in 0..1, strictly falling; empty (what ComfyUI's schedulers give at denoise 0) and of one
            value means no steps.
        shift: of the model, by which some solvers count the way.

    Raises:
        InvalidInputError: the table leaves 0..1 or rises somewhere.
    """
    sigmas = sigmas.detach().to("cpu", torch.float64)
    check_sigmas(sigmas)
    if len(sigmas) == 0:
        return NO_STEPS
    sigmas = sigmas.clamp(max=1.0)
    return NoiseSchedule(sigmas, sigmas[:-1] * TRAINING_TIMESTEPS, shift=shift)
