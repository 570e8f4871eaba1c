"""Seeded noise, always drawn on the CPU so that a seed means the same on every device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...common.shapes import LatentShape
from ..step import NoiseLevel
from ..validation import MAX_SEED, check_seed
from .brownian import brownian_noise


@dataclass(frozen=True, slots=True, eq=False)
class NoiseState:
    """Where a source of noise stands, as a value: the same state gives the same noise.

    Attributes:
        generator: of torch on the CPU, see `torch.Generator.get_state`; [bytes], uint8.
    """

    generator: Tensor

    def draw(self, latent: Tensor) -> tuple[Tensor, NoiseState]:
        """Standard normal noise of a latent's shape, dtype and device, and the state after it."""
        generator = torch.Generator()
        generator.set_state(self.generator)
        noise = torch.randn(latent.shape, generator=generator, dtype=torch.float32).to(latent)
        return noise, NoiseState(generator.get_state())

    def between(self, level: NoiseLevel, goal: float, latent: Tensor) -> Tensor:
        """Standard normal noise of the run's Brownian motion from a level to a sigma; the state stays as it is."""
        return brownian_noise(self.seed, level.course, (level.sigma, goal), latent)

    @property
    def seed(self) -> int:
        """That of the run, see `step_noise`."""
        generator = torch.Generator()
        generator.set_state(self.generator)
        return (generator.initial_seed() - 1) & MAX_SEED


def seeded_noise(seed: int, shape: LatentShape, batch: int = 1) -> Tensor:
    """The starting noise of a seed: [batch, C, T, h, w], float32, CPU.

    The same numbers as ComfyUI draws for this seed (comfy/sample.py prepare_noise), without touching the global
    generator.

    Raises:
        InvalidInputError: the seed is not in 0 .. 2^64 - 1.
    """
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, *shape), generator=generator, dtype=torch.float32)


def indexed_noise(seed: int, shape: LatentShape, indices: Sequence[int]) -> Tensor:
    """The starting noises number `indices` of a seed: [len(indices), C, T, h, w], float32, CPU.

    Each is drawn by itself, one after the other from number 0 on, so that a video of a batch can be made again alone.

    Source: comfyanonymous/ComfyUI comfy/sample.py, prepare_noise with noise_inds.

    Raises:
        InvalidInputError: the seed is not in 0 .. 2^64 - 1.
    """
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    wanted: dict[int, Tensor] = {}
    for index in range(max(indices) + 1):
        noise = torch.randn((1, *shape), generator=generator, dtype=torch.float32)
        if index in indices:
            wanted[index] = noise
    return torch.cat([wanted[index] for index in indices])


def step_noise(seed: int) -> NoiseState:
    """The beginning of the noise that a stochastic solver adds at each step of a run with this seed.

    It is seeded with seed + 1: with the same seed the first draw would repeat the starting noise. ComfyUI does so on a
    CPU since v0.7.0 (comfy/k_diffusion/sampling.py default_noise_sampler, commit 1e4e342f). Versions before it, v0.3.64
    included, take the seed itself, as every version does on a GPU, whose generator gives other numbers anyhow.
    """
    check_seed(seed)
    return NoiseState(torch.Generator().manual_seed((seed + 1) & MAX_SEED).get_state())


def add_noise(latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """The noisy latent at `sigma`: sigma * noise + (1 - sigma) * latent."""
    return sigma * noise + (1.0 - sigma) * latent


def remove_signal_weight(latent: Tensor, sigma: float) -> Tensor:
    """Divides a latent by its signal weight 1 - sigma, so that `add_noise` of zero noise gives it back.

    A run that stops before sigma 0 returns its latent in this form, as native samplers do, and a following run without
    noise continues it. At sigma 0 the latent is unchanged.
    """
    return latent / (1.0 - sigma)
