"""What is learned: to tell the velocity, noise - clean, of a clip with noise."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import torch
from torch import Tensor

from ..dit.inputs import DitInputs
from .batch import TrainingBatch
from .noise import NoiseLevels

Predict = Callable[[DitInputs], Tensor]
"""Gives the velocity [B, C, T, h, w] of one pass."""


def flow_loss(predict: Predict, batch: TrainingBatch, levels: NoiseLevels, generator: torch.Generator) -> Tensor:
    """The mean squared error of the velocity of a batch at noise of its own, float32; given frames do not count.

    Noise is drawn on the CPU, so that it is the same on every device.

    Source: Lipman et al., "Flow Matching for Generative Modeling", arXiv 2210.02747; the loss of a rectified flow.
    """
    clean = batch.latent.float()
    sigma = levels.draw(len(clean), generator).to(clean.device)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    given = batch.shown(clean)
    noisy = given.impose(clean + sigma.view(-1, 1, 1, 1, 1) * (noise - clean))
    velocity = predict(batch.told.inputs(noisy, given.timesteps(1000 * sigma)))
    error = (velocity.float() - (noise - clean)).square()  # [B, C, T, h, w]
    if batch.given is not None:
        error = error[:, :, ~batch.given]
    return (error.flatten(1).mean(1) * levels.weights(sigma)).mean()


def seeded(*parts: object) -> torch.Generator:
    """Random numbers of a place in a training, which depend on nothing before it: a run can go on from any step."""
    digest = sha256(" ".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
