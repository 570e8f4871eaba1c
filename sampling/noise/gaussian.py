"""Seeded noise, always drawn on the CPU so that a seed means the same on every device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ...common.shapes import LatentShape
from ..step import NoiseLevel
from ..validation import MAX_SEED, check_seed
from .brownian import brownian_noise


@record(eq=False)
class NoiseState:
    """Where a source of noise stands, as a value: the same state gives the same noise.

    Attributes:
        generators: of torch on the CPU, one for each video, see `torch.Generator.get_state`; B of [bytes], uint8.
    """

    generators: tuple[Tensor, ...]

    def draw(self, latent: Tensor) -> tuple[Tensor, NoiseState]:
        """Standard normal noise of a latent's shape, dtype and device, and the state after it."""
        noise, generators = torch.empty(latent.shape, dtype=torch.float32), self._each()
        for video, generator in zip(noise, generators, strict=True):
            video.normal_(generator=generator)
        return noise.to(latent), NoiseState(tuple(generator.get_state() for generator in generators))

    def between(self, level: NoiseLevel, goal: float, latent: Tensor) -> Tensor:
        """Standard normal noise of each video's Brownian motion from a level to a sigma; the state stays as it is."""
        seeds = [(generator.initial_seed() - 1) & MAX_SEED for generator in self._each()]
        videos, span = zip(seeds, latent.split(1), strict=True), (level.sigma, goal)
        return torch.cat([brownian_noise(seed, level.course, span, video) for seed, video in videos])

    def _each(self) -> list[torch.Generator]:
        """The generators of the videos, where they stand."""
        return [torch.Generator().set_state(state) for state in self.generators]


def seeded_noise(seed: int, shape: LatentShape, batch: int = 1, batch_index: Sequence[int] | None = None) -> Tensor:
    """The starting noise of a seed: [batch, C, T, h, w], float32, CPU.

    The same numbers as ComfyUI draws for this seed (comfy/sample.py prepare_noise), without touching the global
    generator.

    Args:
        batch_index: the numbers of the videos among the noises of the seed, see `indexed_noise`; None for the first.

    Raises:
        InvalidInputError: the seed is not in 0 .. 2^64 - 1.
    """
    check_seed(seed)
    if batch_index is not None:
        return indexed_noise(seed, shape, batch_index)
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


def step_noise(seed: int, batch: int = 1, batch_index: Sequence[int] | None = None) -> NoiseState:
    """The beginning of the noise that a stochastic solver adds at each step of a run with this seed.

    That of video 0 is seeded with seed + 1: with the same seed the first draw would repeat the starting noise. ComfyUI
    does so on a CPU since v0.7.0 (comfy/k_diffusion/sampling.py default_noise_sampler, commit 1e4e342f). Versions
    before it, v0.3.64 included, take the seed itself, as every version does on a GPU, whose generator gives other
    numbers anyhow. Each further video has a seed of its own, so that it gets the same noise in any batch: ComfyUI draws
    a batch as a whole.

    Args:
        batch: how many videos there are.
        batch_index: their numbers, as for `seeded_noise`.

    Raises:
        InvalidInputError: the seed is not in 0 .. 2^64 - 1, or the numbers are not those of the videos.
    """
    check_seed(seed)
    numbers = range(batch) if batch_index is None else batch_index
    if len(numbers) != batch:
        raise InvalidInputError(
            f"batch_index numbers {len(numbers)} videos, but the batch has {batch}. Give one number for each video."
        )
    seeds = [_step_seed(seed, number) for number in numbers]
    return NoiseState(tuple(torch.Generator().manual_seed(each).get_state() for each in seeds))


def chunk_noise(
    seed: int, chunk: int, step: int, batch: int = 1, batch_index: Sequence[int] | None = None
) -> NoiseState:
    """The noise that a solver adds in a step of a chunk: it depends on their numbers alone, so that it can be resumed.

    That of video 0 is seeded with seed + 1000 * chunk + step.

    Source: ComfyUI 0.33.0 comfy/k_diffusion/sampling.py, sample_ar_video; it draws a batch as a whole.
    """
    numbers = range(batch) if batch_index is None else batch_index
    seeds = (_chunk_seed(seed, number, chunk, step) for number in numbers)
    return NoiseState(tuple(torch.Generator().manual_seed(each).get_state() for each in seeds))


def _chunk_seed(seed: int, number: int, chunk: int, step: int) -> int:
    if number == 0:
        return (seed + 1000 * chunk + step) & MAX_SEED
    return int(np.random.SeedSequence(seed, spawn_key=(number, chunk, step)).generate_state(1, np.uint64)[0])


def _step_seed(seed: int, number: int) -> int:
    """Far from those of other videos and of other runs: two with the same step noise would become alike."""
    if number == 0:
        return (seed + 1) & MAX_SEED
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)[0])


def add_noise(latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """The noisy latent at `sigma`: sigma * noise + (1 - sigma) * latent."""
    return sigma * noise + (1.0 - sigma) * latent


def remove_signal_weight(latent: Tensor, sigma: float) -> Tensor:
    """Divides a latent by its signal weight 1 - sigma, so that `add_noise` of zero noise gives it back.

    A run that stops before sigma 0 returns its latent in this form, as native samplers do, and a following run without
    noise continues it. At sigma 0 the latent is unchanged.
    """
    return latent / (1.0 - sigma)
