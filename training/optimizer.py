"""Muon for matrices and convolution kernels, AdamW for the rest, and a running average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with all singular values about 1, by Newton-Schulz iteration.

    Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class MuonAdamW:
    """Updates `muon` weights (two or more dimensions, flattened to two) by Muon and `adam` weights by AdamW.

    Muon's step is scaled to the usual size of an AdamW step, so that one learning rate serves both.
    """

    def __init__(self, muon: Mapping[str, Tensor], adam: Mapping[str, Tensor], weight_decay: float = 0.0):
        self.muon, self.adam, self.weight_decay = dict(muon), dict(adam), weight_decay
        self.steps = 0
        self.first = {name: torch.zeros_like(weight) for name, weight in {**muon, **adam}.items()}
        self.second = {name: torch.zeros_like(weight) for name, weight in adam.items()}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One update from the `.grad` of every weight; clears the gradients."""
        self.steps += 1
        updates = {}
        for name, weight in self.muon.items():
            momentum = self.first[name].lerp_(weight.grad, 0.05)
            updates[name] = weight.grad.lerp_(momentum, 0.95).flatten(1)
        for name, update in self._orthogonalised(updates).items():
            weight = self.muon[name]
            weight.mul_(1 - learning_rate * self.weight_decay)
            weight.add_(update.view_as(weight), alpha=-learning_rate * 0.2 * math.sqrt(max(update.shape)))
            weight.grad = None
        correction_1, correction_2 = 1 - 0.9**self.steps, 1 - 0.99**self.steps
        for name, weight in self.adam.items():
            first = self.first[name].lerp_(weight.grad, 0.1)
            second = self.second[name].lerp_(weight.grad.square(), 0.01)
            weight.addcdiv_(first / correction_1, (second / correction_2).sqrt_().add_(1e-8), value=-learning_rate)
            weight.grad = None

    def _orthogonalised(self, updates: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every update orthogonalised; the processes of a group share the work."""
        if not dist.is_initialized() or sum(update.numel() for update in updates.values()) < 1e6:
            return {name: orthogonalise(update) for name, update in updates.items()}
        rank, processes = dist.get_rank(), dist.get_world_size()
        flat = torch.zeros(sum(update.numel() for update in updates.values()), dtype=torch.bfloat16)
        pieces = flat.split([update.numel() for update in updates.values()])
        for place, (update, piece) in enumerate(zip(updates.values(), pieces)):
            if place % processes == rank:
                piece.copy_(orthogonalise(update.bfloat16()).reshape(-1))
        dist.all_reduce(flat)
        return {name: piece.view(update.shape).float() for (name, update), piece in zip(updates.items(), pieces)}

    def state(self) -> dict:
        """Everything needed to go on later."""
        return {"steps": self.steps, "first": self.first, "second": self.second}

    def load(self, state: dict) -> None:
        """Goes on from `state`."""
        self.steps = state["steps"]
        for mine, theirs in ((self.first, state["first"]), (self.second, state["second"])):
            for name, value in theirs.items():
                mine[name].copy_(value)


@torch.no_grad()
def average_weights(average: dict[str, Tensor], weights: Mapping[str, Tensor], decay: float, step: int) -> None:
    """Moves the running `average` towards `weights`; the decay warms up over the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    for name, weight in weights.items():
        average[name].lerp_(weight.detach(), 1 - decay)


def cosine(progress: float, floor: float = 0.02) -> float:
    """Learning-rate factor: 1 at progress 0, `floor` at progress 1."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
