"""UniPC of third order as native nodes compute it for flow models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor

from ...common.records import record
from ..noise import NoiseState
from ..step import NoiseLevel, Predict, predict_denoised
from .solver import Guess, SolverRecord, StepResult

_ORDER = 3
_LAST_SIGMA = 0.001
"""Where a run that should end at sigma 0 ends; what is left of the noise stays in the result."""

Growth = Callable[[float], float]
"""B(h) of the paper, of a negative step."""


@record
class NativeUniPC:
    """UniPC that steps in log(1 / sigma), the time of variance-exploding models; see `NativeDPMSolverMultistep`.

    Third order after two steps of lower order, and of lower order again at the end. A run to sigma 0 ends at 0.001.
    Native's sampler node gives it a schedule of one more step and leaves out the last sigma above 0, see
    `WITHOUT_PENULTIMATE`. (A run of one step is one of first order here; native returns the noise.)

    Source: Zhao et al., "UniPC", arXiv 2302.04867; as comfyanonymous/ComfyUI comfy/extra_samplers/uni_pc.py,
    sample_unipc and multistep_uni_pc_bh_update (v0.3.64 and v0.33.0).
    """

    growth: Growth

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        guess = Guess(level.sigma, predict_denoised(predict, latent, level))
        if record.start_latent is not None:
            latent = self._update(record.start_latent, record.past, level.sigma, guess.denoised)
        order = _order_of_step(following.index, level.steps)
        past = (*record.past, guess)[-order:]  # as many as the prediction uses, and its correction after it
        sigma = following.sigma or _LAST_SIGMA
        result = self._update(latent, past, sigma)
        moved = result if following.sigma else result / (1.0 - sigma)
        return StepResult(replace(record, past=past, start_latent=latent), moved, guess.denoised)

    def _update(self, latent: Tensor, past: tuple[Guess, ...], sigma: float, denoised: Tensor | None = None) -> Tensor:
        """The latent at `sigma` from that at past[-1].sigma; with the model's answer there corrected by it."""
        now = past[-1]
        step = math.log(now.sigma / sigma)
        ratios = [math.log(now.sigma / older.sigma) / step for older in past[-2::-1]]
        changes = [(older.denoised - now.denoised) / ratio for older, ratio in zip(past[-2::-1], ratios)]
        growth = self.growth(-step)
        if denoised is None:
            weights = [0.5] if len(ratios) == 1 else _weights(ratios, step, growth)
        else:
            changes.append(denoised - now.denoised)
            weights = _weights([*ratios, 1.0], step, growth) if ratios else [0.5]
        result = sigma / now.sigma * latent - math.expm1(-step) * now.denoised
        for weight, change in zip(weights, changes):
            result = result - growth * weight * change
        return result


def _order_of_step(number: int, steps: int) -> int:
    """Of the step that leads to the level of this number, 1..steps."""
    order = max(1, min(_ORDER, steps - 1))
    return number if number < order else min(order, steps + 1 - number)


def _weights(ratios: list[float], step: float, growth: float) -> list[float]:
    """Solves the system of equation 10 of the paper, sum over m of ratios[m]^k weights[m] = b[k], k = 0.. ."""
    if not ratios:
        return []
    phi, factorial, right = math.expm1(-step) / -step - 1, 1, []
    for k in range(1, len(ratios) + 1):
        right.append(phi * factorial / growth)
        factorial *= k + 1
        phi = phi / -step - 1 / factorial
    return np.linalg.solve(np.vander(ratios, increasing=True).T, right).tolist()


UNI_PC_BH1 = NativeUniPC(growth=float)
"""Native's uni_pc: B(h) = h."""

UNI_PC_BH2 = NativeUniPC(growth=math.expm1)
"""Native's uni_pc_bh2: B(h) = e^h - 1."""
