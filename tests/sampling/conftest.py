"""Models for the sampling tests: any function of the inputs, in the three parts that a denoiser runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from torch import Tensor
from wan_director.dit.inputs import DitInputs
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.state import SamplerState


class WholeModel:
    """A model whose trunk is a function of the inputs, which gives the velocity [B, C, T, h, w]."""

    def __init__(self, function: Callable[[DitInputs], Tensor]) -> None:
        self.function = function

    def embed(self, inputs: DitInputs) -> SimpleNamespace:
        return SimpleNamespace(inputs=inputs, tokens=None)

    def trunk(self, passes: Any) -> list[Tensor]:
        return [self.function(each.inputs) for each in passes]

    def unembed(self, tokens: Tensor, _embedded: SimpleNamespace) -> Tensor:
        return tokens


def sampled(denoiser, solver, schedule, latent, *, seed, given=None, noise=None) -> Iterator[SamplerState]:
    """Every state of a run with a solver of this name."""
    start = begin(SOLVERS[solver], schedule, latent, seed=seed, noise=noise)
    return sample(denoiser, SOLVERS[solver], schedule, start, *([] if given is None else [given]))


def walk(solver, noise, predict, latent, levels) -> Iterator[Tensor]:
    """The latent after every step of a solver of this name, from noise level to noise level."""
    record = SOLVERS[solver].start(noise)
    for level, following in pairwise(levels):
        record, latent, _ = SOLVERS[solver].advance(record, predict, latent, level, following)
        yield latent
