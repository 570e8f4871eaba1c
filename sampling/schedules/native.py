"""The tables of ComfyUI's schedulers for a flow model."""

from __future__ import annotations

import math

import numpy as np

from .noise_schedule import (
    TRAINING_TIMESTEPS,
    NoiseSchedule,
    ending_at_zero,
    lowest_training_sigma,
    shift_sigmas,
)


def simple(steps: int, shift: float) -> NoiseSchedule:
    """Every (1000 / steps)-th entry of the 1000 shifted training sigmas, from 1 downwards.

    Source: comfyanonymous/ComfyUI comfy/samplers.py simple_scheduler, on the table of
    comfy/model_sampling.py ModelSamplingDiscreteFlow.
    """
    indices = [TRAINING_TIMESTEPS - int(step * (TRAINING_TIMESTEPS / steps)) for step in range(steps)]
    return ending_at_zero(shift_sigmas(np.array(indices) / TRAINING_TIMESTEPS, shift))


def normal(steps: int, shift: float) -> NoiseSchedule:
    """Evenly spaced between the first and last shifted training timestep, then shifted (once more).

    Source: comfyanonymous/ComfyUI comfy/samplers.py normal_scheduler; the same table as FlowMatchEulerDiscreteScheduler
    of huggingface/diffusers.
    """
    return ending_at_zero(shift_sigmas(np.linspace(1.0, lowest_training_sigma(shift), steps), shift))


def sgm_uniform(steps: int, shift: float) -> NoiseSchedule:
    """`normal` with steps of one length, the last one down to 0 included.

    Source: comfyanonymous/ComfyUI comfy/samplers.py normal_scheduler with sgm (v0.33.0).
    """
    sigmas = np.linspace(1.0, lowest_training_sigma(shift), steps + 1)[:-1]
    return ending_at_zero(shift_sigmas(sigmas, shift))


def ddim_uniform(steps: int, shift: float) -> NoiseSchedule:
    """Every (1000 // steps)-th of the shifted training sigmas, from the second one upwards.

    It has as many steps as fit: 31 where 30 are asked for. The first sigma is below 1, and a run begins with a mixture
    of noise and the given latent.

    Source: comfyanonymous/ComfyUI comfy/samplers.py ddim_scheduler (v0.33.0).
    """
    stride = max(TRAINING_TIMESTEPS // steps, 1)
    timesteps = np.arange(2, TRAINING_TIMESTEPS + 1, stride)[::-1]
    return ending_at_zero(shift_sigmas(timesteps / TRAINING_TIMESTEPS, shift), starts_from_noise=False)


def exponential(steps: int, shift: float) -> NoiseSchedule:
    """Evenly spaced in log sigma, from 1 to the first shifted training sigma.

    Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py get_sigmas_exponential (v0.33.0), with the sigma_min
    and sigma_max of comfy/model_sampling.py ModelSamplingDiscreteFlow.
    """
    return ending_at_zero(np.exp(np.linspace(0.0, math.log(lowest_training_sigma(shift)), steps)))


def kl_optimal(steps: int, shift: float) -> NoiseSchedule:
    """Evenly spaced in arctan sigma, from 1 to the first shifted training sigma. One step is from 1 to 0.

    Source: Sabour et al., "Align Your Steps", arXiv 2404.14507, section 3.1; comfyanonymous/ComfyUI comfy/samplers.py
    kl_optimal_scheduler (v0.33.0), which divides by 0 for one step.
    """
    sigmas = np.tan(np.linspace(math.atan(1.0), math.atan(lowest_training_sigma(shift)), steps))
    sigmas[0] = 1.0  # the tangent of the arctangent is a rounding error below
    return ending_at_zero(sigmas)


def linear_quadratic(steps: int, _shift: float) -> NoiseSchedule:
    """The first half of the steps evenly down to 0.975, the rest along a parabola; the shift has no effect.

    Source: genmoai/mochi src/genmo/mochi_preview/pipelines.py, linear_quadratic_schedule; as comfyanonymous/ComfyUI
    comfy/samplers.py linear_quadratic_schedule (v0.33.0).
    """
    if steps == 1:
        return ending_at_zero(np.ones(1))
    reached, straight = 0.025, steps // 2
    curved = steps - straight
    ahead = straight - reached * steps  # how far the straight line stays behind the diagonal, in steps
    bend = ahead / (straight * curved**2)
    slope = reached / straight - 2 * ahead / curved**2
    counts = np.arange(steps, dtype=np.float64)
    parabola = bend * counts**2 + slope * counts + bend * straight**2
    return ending_at_zero(1.0 - np.where(counts < straight, counts * reached / straight, parabola))
