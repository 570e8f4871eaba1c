"""Where a run stands between two steps, as a value that can be saved and gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import torch
from torch import Tensor

from ..common.records import record
from .cache import NOTHING_KEPT, Kept
from .noise import NoiseState
from .packing import pack, unpack
from .solvers import Guess, SolverRecord


@record(eq=False)
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
        """All of it as tensors by name, on the CPU, for `state_of` and for a safetensors file."""
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in pack(self, STATE_KINDS).items()}


STATE_KINDS = (SamplerState, SolverRecord, NoiseState, Guess)
"""What a state is made of, beside tensors, numbers, tuples and mappings; a new kind of record is named here."""


def state_of(tensors: Mapping[str, Tensor], device: torch.device | None = None) -> SamplerState:
    """The state that gave these tensors (see `SamplerState.tensors`).

    Args:
        device: of the run, where that was none on the CPU.

    Raises:
        InvalidInputError: they are not those of a state.
    """
    return unpack(tensors, STATE_KINDS, device)
