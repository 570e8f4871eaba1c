"""Latent frames that are given from the start and stay as they are, while the others are made."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class NothingGiven:
    """Every latent frame is made."""

    def impose(self, latent: Tensor) -> Tensor:
        """The latent itself."""
        return latent

    def timesteps(self, timestep: Tensor) -> Tensor:
        """One timestep for all frames: `timestep` [B] itself."""
        return timestep


@dataclass(frozen=True, slots=True, eq=False)
class GivenFrames:
    """Some latent frames are given without noise, as the 5B model of Wan 2.2 takes its start image.

    The model sees them clean, with timestep 0, and they are put back after every step.

    Attributes:
        clean: [1 or B, C, T, h, w], normalised; only the given frames count.
        frames: [T], bool, which latent frames are given.

    Source: Wan-Video/Wan2.2 wan/textimage2video.py, i2v.
    """

    clean: Tensor
    frames: Tensor

    def impose(self, latent: Tensor) -> Tensor:
        """`latent` [B, C, T, h, w] with the given frames in their places."""
        return torch.where(self.frames[:, None, None], self.clean.to(latent), latent)

    def timesteps(self, timestep: Tensor) -> Tensor:
        """The timestep of each latent frame: [B] -> [B, T], 0 for given ones."""
        return timestep[:, None] * ~self.frames


Given = NothingGiven | GivenFrames

NOTHING_GIVEN = NothingGiven()
