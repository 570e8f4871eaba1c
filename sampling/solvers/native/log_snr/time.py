"""Steps of the reverse diffusion in lambda = log((1 - sigma) / sigma), as exponential integrators make them."""

from __future__ import annotations

import math

from torch import Tensor

from ....step import half_log_snr

HIGHEST = 1.0 - 1e-7
"""The highest sigma that a step begins at: lambda is infinite at 1, see `solvers.FROM_BELOW_ONE`."""


def time_of(sigma: float) -> float:
    """lambda; that of `HIGHEST` above it."""
    return half_log_snr(min(sigma, HIGHEST))


def sigma_at(time: float) -> float:
    """The sigma of a lambda."""
    return 1.0 / (1.0 + math.exp(time))


def kept(latent: Tensor, sigma: float, goal: float, eta: float) -> Tensor:
    """What is left of the latent of `sigma` in that of the sigma `goal`; eta 1 is the diffusion, 0 its flow."""
    return goal / sigma * math.exp(-eta * (time_of(goal) - time_of(sigma))) * latent


def forgotten(sigma: float, goal: float, eta: float) -> float:
    """The weight of a constant clean latent in the step, over the signal weight of the goal."""
    return -math.expm1(-(1.0 + eta) * (time_of(goal) - time_of(sigma)))


def spread(sigma: float, goal: float, eta: float = 1.0) -> float:
    """The standard deviation of the noise that a step adds."""
    return goal * math.sqrt(max(-math.expm1(-2.0 * eta * (time_of(goal) - time_of(sigma))), 0.0))


def phi_1(length: float) -> float:
    """h phi_1(h) = e^h - 1."""
    return math.expm1(length)


def phi_2(length: float) -> float:
    """h phi_2(h) = (e^h - 1) / h - 1."""
    return math.expm1(length) / length - 1.0
