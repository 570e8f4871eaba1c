"""Steps at the quantiles of a beta distribution."""

from __future__ import annotations

import math

import numpy as np

from ...common.log import logger
from .noise_schedule import TRAINING_TIMESTEPS, NoiseSchedule, ending_at_zero, shift_sigmas

_SHAPE = 0.6
"""Both parameters of the distribution."""
_TERMS, _HALVINGS = 64, 64
"""Of the series, whose terms halve at least, and of the search: both end below the rounding of float64."""


def _weights() -> list[float]:
    factor, weights = 1.0, []
    for term in range(_TERMS):
        weights.append(factor / (_SHAPE + term))
        factor *= (term + 1 - _SHAPE) / (term + 1)
    return weights


_WEIGHTS, _WHOLE = _weights(), math.gamma(_SHAPE) ** 2 / math.gamma(2 * _SHAPE)
"""Of the powers in the series, and the beta function, by which they are divided."""


def beta(steps: int, shift: float) -> NoiseSchedule:
    """Training sigmas at the quantiles of the Beta(0.6, 0.6) distribution: denser at both ends.

    Quantiles that fall on the same training sigma count once, so that many steps give a shorter schedule.

    Source: Lee et al., "Beta Sampling is All You Need", arXiv 2407.12173; rounding as in comfyanonymous/ComfyUI
    comfy/samplers.py beta_scheduler.
    """
    quantiles = beta_quantiles(1 - np.linspace(0, 1, steps, endpoint=False))
    indices = np.unique(np.rint(quantiles * (TRAINING_TIMESTEPS - 1)))[::-1]
    if len(indices) < steps:
        logger.info("The schedule 'beta' has %d different noise levels for %d steps.", len(indices), steps)
    return ending_at_zero(shift_sigmas((indices + 1) / TRAINING_TIMESTEPS, shift))


def beta_quantiles(parts: np.ndarray) -> np.ndarray:
    """Where the Beta(0.6, 0.6) distribution has these parts of its mass below, all in 0..1.

    The distribution is symmetric, so that the lower half of it is searched, by halving.
    """
    lower = np.minimum(parts, 1 - parts)
    low, high = np.zeros_like(lower), np.full_like(lower, 0.5)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_below = _mass_below(middle) < lower
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    found = (low + high) / 2
    return np.where(lower == 0, parts, np.where(parts >= 0.5, 1 - found, found))


def _mass_below(places: np.ndarray) -> np.ndarray:
    """The regularised incomplete beta function I_x(0.6, 0.6) for x in 0..1/2.

    Source: NIST Digital Library of Mathematical Functions, equations 8.17.2 and 8.17.7 with 15.2.1.
    """
    total = np.zeros_like(places)
    for weight in reversed(_WEIGHTS):
        total = total * places + weight
    return total * places**_SHAPE / _WHOLE
