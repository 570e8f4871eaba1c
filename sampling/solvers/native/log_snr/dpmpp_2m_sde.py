"""The stochastic DPM-Solver++ of second order, multistep, with native's noise."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .....common.records import record
from ....noise import NoiseState
from ....step import NoiseLevel, Predict, predict_denoised
from ...solver import Guess, SolverRecord, StepResult
from .time import forgotten, kept, phi_2, spread, time_of


@record
class NativeStochasticMultistep:
    """SDE-DPM-Solver++ 2M; as `DPMSolverStochastic`, but from below sigma 1 and with the noise of a Brownian motion.

    Attributes:
        heun: whether the change of the guess is integrated exactly, instead of taken from the middle of a step.

    Source: Lu et al., "DPM-Solver++", arXiv 2211.01095, appendix on SDE solvers; comfyanonymous/ComfyUI
    comfy/k_diffusion/sampling.py, sample_dpmpp_2m_sde and sample_dpmpp_2m_sde_heun (v0.33.0).
    """

    heun: bool = False

    def start(self, noise: NoiseState) -> SolverRecord:
        """The record before the first step."""
        return SolverRecord(noise)

    def advance(
        self, record: SolverRecord, predict: Predict, latent: Tensor, level: NoiseLevel, following: NoiseLevel
    ) -> StepResult:
        """One step; see `Solver.advance`."""
        guess = Guess(level.sigma, predict_denoised(predict, latent, level))
        after = replace(record, past=(guess,))
        if following.sigma == 0.0:
            return StepResult(after, guess.denoised, guess.denoised)
        step = (level.sigma, following.sigma)
        length = time_of(following.sigma) - time_of(level.sigma)
        weight = forgotten(*step, eta=1.0)
        moved = kept(latent, *step, eta=1.0) + following.alpha * weight * guess.denoised
        if record.past:
            last = record.past[-1]
            change = (guess.denoised - last.denoised) * (length / (time_of(level.sigma) - time_of(last.sigma)))
            moved = moved + following.alpha * (-phi_2(-2 * length) if self.heun else weight / 2) * change
        noise = record.noise.between(level, following.sigma, latent)
        return StepResult(after, moved + spread(*step) * noise, guess.denoised)
