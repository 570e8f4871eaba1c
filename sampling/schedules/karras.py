"""Karras spacing, of the noise-to-signal ratio and of sigma."""

from __future__ import annotations

import numpy as np

from .noise_schedule import NoiseSchedule, ending_at_zero, lowest_training_sigma, shift_sigmas


def karras(steps: int, shift: float) -> NoiseSchedule:
    """Karras spacing (rho 7) of the noise-to-signal ratio, from sigma 0.999 to 0.001, then shifted.

    The original spaces the noise level of x = clean + ratio * noise; for flow matching that is sigma / (1 - sigma).
    `karras_native` spaces sigma itself, which leaves few steps at high noise.

    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364,
    equation 5.
    """
    ratios = _karras_spacing(999.0, 1 / 999.0, steps)
    return ending_at_zero(shift_sigmas(ratios / (1 + ratios), shift))


def karras_native(steps: int, shift: float) -> NoiseSchedule:
    """Karras spacing (rho 7) of sigma itself, from 1 to the first shifted training sigma.

    Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py get_sigmas_karras, with the sigma_min and sigma_max of
    comfy/model_sampling.py ModelSamplingDiscreteFlow: what its scheduler 'karras' gives for a flow model.
    """
    return ending_at_zero(_karras_spacing(1.0, lowest_training_sigma(shift), steps))


def _karras_spacing(first: float, last: float, steps: int) -> np.ndarray:
    rho = 7.0
    return np.linspace(first ** (1 / rho), last ** (1 / rho), steps) ** rho
