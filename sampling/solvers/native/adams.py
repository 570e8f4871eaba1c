"""Adams-Bashforth steps: the last velocities, each by its weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from ....common.records import record
from ...noise import NoiseState
from ...step import NoiseLevel, Predict
from ..solver import Guess, SolverRecord, StepResult

ORDER = 4

Weights = Callable[[Sequence[float], float], Sequence[float]]
"""(the sigmas of the known velocities, newest first; the sigma to go to) -> the weight of each, newest first."""


@record
class AdamsBashforth:
    """Steps along a weighted sum of the last four velocities, fewer at the start; to sigma 0 straight.

    Source: comfyanonymous/ComfyUI comfy/k_diffusion/sampling.py, sample_lms, sample_ipndm and sample_ipndm_v (v0.3.64
    and v0.33.0).
    """

    weights: Weights

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`. What is remembered as guesses are velocities."""
        velocity = predict(latent, level)
        denoised = latent - level.sigma * velocity
        known = (*record.past, Guess(level.sigma, velocity))[-ORDER:]
        after = replace(record, past=known[1 - ORDER :])
        if following.sigma == 0.0:
            return StepResult(after, denoised, denoised)
        newest_first = known[::-1]
        weights = self.weights([each.sigma for each in newest_first], following.sigma)
        moved = latent
        for weight, each in zip(weights, newest_first):
            moved = moved + weight * each.denoised
        return StepResult(after, moved, denoised)


def exact_weights(sigmas: Sequence[float], goal: float) -> list[float]:
    """Those of the polynomial through the velocities, integrated over the step.

    Two points of Gauss integrate its degree, at most 3, exactly.

    Source: crowsonkb/k-diffusion k_diffusion/sampling.py, sample_lms.
    """
    places, parts = np.polynomial.legendre.leggauss(2)
    middle, half = (goal + sigmas[0]) / 2, (goal - sigmas[0]) / 2
    weights = []
    for own in range(len(sigmas)):
        others = [sigma for number, sigma in enumerate(sigmas) if number != own]
        values = [
            np.prod([(middle + half * place - other) / (sigmas[own] - other) for other in others]) for place in places
        ]
        weights.append(half * float(np.dot(parts, values)))
    return weights


_EVEN = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def even_weights(sigmas: Sequence[float], goal: float) -> list[float]:
    """Those of steps of one length, whatever theirs is.

    Source: Zhang and Chen, "Fast Sampling of Diffusion Models with Exponential Integrator", arXiv 2204.13902, iPNDM.
    """
    return [(goal - sigmas[0]) * weight for weight in _EVEN[len(sigmas) - 1]]


def uneven_weights(sigmas: Sequence[float], goal: float) -> list[float]:
    """Those for steps of their own lengths, with the corrections that native's code has for the third and the fourth.

    Source: zju-pi/diff-sampler diff-solvers-main/solvers.py, ipndm_v_sampler.
    """
    step = goal - sigmas[0]
    lengths = [sigmas[number] - sigmas[number + 1] for number in range(len(sigmas) - 1)]
    weights = [1.0]
    if lengths:
        ratio = step / lengths[0] / 2
        weights = [1 + ratio, -ratio]
    if len(lengths) > 1:
        _correct(weights, _third(step, *lengths[:2]), lengths[:2])
    if len(lengths) > 2:
        _correct(weights, _fourth(step, *lengths), lengths)
    return [step * weight for weight in weights]


def _correct(weights: list[float], size: float, lengths: Sequence[float]) -> None:
    """Adds a divided difference of the velocities, in units of its newest weight, with weight `size`."""
    bends = [1.0, 1.0 + lengths[0] / lengths[1], lengths[0] / lengths[1]]
    if len(lengths) > 2:
        first, second, third = lengths
        outer = first * (first + second) / (second * (second + third))
        bends = [1.0, bends[1] + outer, bends[2] + outer * (1 + second / third), outer * bends[2]]
    weights += [0.0] * (len(bends) - len(weights))
    for number, bend in enumerate(bends):
        weights[number] += size * (bend if number % 2 == 0 else -bend)


def _third(step: float, first: float, second: float) -> float:
    with_first = step + first
    share = step / (3 * with_first) * (step * with_first) / (first * (first + second))
    return (1 - share) / 2


def _fourth(step: float, first: float, second: float, third: float) -> float:
    with_first, with_second = step + first, step + first + second
    share = (1 - step / (3 * with_first)) / 2 + (1 - step / (2 * with_first)) * step / (6 * with_second)
    return share * (step * with_first * with_second) / (first * (first + second) * (first + second + third))
