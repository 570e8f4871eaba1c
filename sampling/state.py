"""Where a run stands between two steps, as a value that can be saved and gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..common.errors import InvalidInputError
from .cache import NOTHING_KEPT, Kept
from .noise import NoiseState
from .solvers import Guess, SolverRecord

_CACHE = "cache."


@dataclass(frozen=True, slots=True, eq=False)
class SamplerState:
    """A run after some of its steps: all that the rest of it needs beside the model, the solver and the schedule.

    Attributes:
        step: steps done, 0..`steps`.
        steps: steps of the whole run.
        sigma: noise level of `latent`; 0 at the end.
        latent: [B, C, T, h, w], float32, normalised: the result so far; that of the last step is the run's result.
        denoised: the model's guess of the clean latent at this step, for previews; same shape.
        solver: what the solver remembers, and where its noise stands.
        cache: what the cache remembers.
    """

    step: int
    steps: int
    sigma: float
    latent: Tensor
    denoised: Tensor
    solver: SolverRecord
    cache: Kept = field(default_factory=lambda: NOTHING_KEPT)

    @property
    def noise(self) -> NoiseState:
        """Where the noise that stochastic solvers add stands."""
        return self.solver.noise

    def tensors(self) -> dict[str, Tensor]:
        """All of it as tensors by name, for `state_of` and for a safetensors file."""
        solver = self.solver
        named = {
            "progress": torch.tensor([self.step, self.steps]),
            "sigma": torch.tensor(self.sigma, dtype=torch.float64),
            "latent": self.latent,
            "denoised": self.denoised,
            "noise": solver.noise.generator,
            "past_sigmas": torch.tensor([guess.sigma for guess in solver.past], dtype=torch.float64),
        }
        named |= {f"past.{number}": guess.denoised for number, guess in enumerate(solver.past)}
        optional = {"start_latent": solver.start_latent, "added_noise": solver.added_noise}
        named |= {name: value for name, value in optional.items() if value is not None}
        named |= {_CACHE + name: value for name, value in self.cache.items()}
        # Tensors may share memory, and a file holds each by itself.
        return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in named.items()}


def state_of(tensors: Mapping[str, Tensor]) -> SamplerState:
    """The state that gave these tensors (see `SamplerState.tensors`), on the device they are on.

    Raises:
        InvalidInputError: they are not those of a state.
    """
    try:
        step, steps = tensors["progress"].tolist()
        past = [Guess(sigma, tensors[f"past.{number}"]) for number, sigma in enumerate(tensors["past_sigmas"].tolist())]
        return SamplerState(
            step=step,
            steps=steps,
            sigma=float(tensors["sigma"]),
            latent=tensors["latent"],
            denoised=tensors["denoised"],
            solver=SolverRecord(
                NoiseState(tensors["noise"].cpu()),
                tuple(past),
                tensors.get("start_latent"),
                tensors.get("added_noise"),
            ),
            cache={name.removeprefix(_CACHE): value for name, value in tensors.items() if name.startswith(_CACHE)},
        )
    except KeyError as error:
        raise InvalidInputError(
            f"The saved state of a run lacks {error}, which is needed to go on from it. Save it again, or start anew."
        ) from None
