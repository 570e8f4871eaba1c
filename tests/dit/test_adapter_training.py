"""A small training through adapters: a LoRA and the differences of the norms learn one clip, to the bit each time."""

from __future__ import annotations

import torch
from torch import Tensor
from wan_director.dit.adapters import (
    Adapter,
    AppliedAdapter,
    Change,
    Full,
    LowRank,
    adapted,
    frozen,
    trainable,
    trainable_parameters,
)
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT

CONFIG = DiTConfig(dim=48, ffn_dim=96, heads=4, layers=3, text_dim=24, text_tokens=8, freq_dim=32)
STEPS, RANK = 30, 8
SIGMAS = (0.2, 0.5, 0.8)


def new_adapter(model: WanDiT) -> Adapter:
    """A LoRA of every matrix that begins at zero, and differences of all norms."""
    generator = torch.Generator().manual_seed(1)
    changes = {}
    for name, value in model.named_parameters():
        if name.endswith("weight") and value.ndim == 2:
            down = torch.randn(RANK, value.shape[1], generator=generator) / value.shape[1] ** 0.5
            changes[name] = (Change(LowRank(down, torch.zeros(value.shape[0], RANK))),)
        elif "norm" in name:
            changes[name] = (Change(Full(torch.zeros(value.shape))),)
    return Adapter("clip", changes)


def sample() -> tuple[Tensor, Tensor]:
    """A clean latent [1, 16, 2, 8, 8] of large forms, and its text [1, 8, 24]."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.randn(1, 16, 1, 2, 2, generator=generator)
    return coarse.repeat_interleave(4, 3).repeat_interleave(4, 4).repeat(1, 1, 2, 1, 1), torch.randn(
        1, 8, 24, generator=generator
    )


def flow_loss(model: WanDiT, noise: Tensor, sigma: float, execution: Execution) -> Tensor:
    clean, text = sample()
    noisy = (1 - sigma) * clean + sigma * noise
    velocity = model(DitInputs(noisy, torch.tensor([1000 * sigma]), text), execution)
    return (velocity - (noise - clean)).square().mean()


@torch.no_grad()
def fresh_loss(model: WanDiT) -> float:
    """Over noise that is never trained on."""
    noise = torch.randn(1, 16, 2, 8, 8, generator=torch.Generator().manual_seed(99))
    return sum(float(flow_loss(model, noise, sigma, Execution())) for sigma in SIGMAS) / len(SIGMAS)


def train(execution: Execution) -> tuple[float, float, Adapter]:
    """The loss before and after, and what was learned."""
    torch.manual_seed(0)
    model = WanDiT(CONFIG).eval().requires_grad_(False)
    own = trainable(new_adapter(model))
    generator = torch.Generator().manual_seed(3)
    with adapted(model, [AppliedAdapter(own)]) as run:
        optimiser = torch.optim.AdamW(run.parameters(), lr=1e-2)
        before = fresh_loss(model)
        for _ in range(STEPS):
            noise = torch.randn(1, 16, 2, 8, 8, generator=generator)
            sigma = float(torch.rand((), generator=generator))
            flow_loss(model, noise, sigma, execution).backward()
            optimiser.step()
            optimiser.zero_grad()
        after = fresh_loss(model)
    assert fresh_loss(model) == before
    return before, after, frozen(own)


def test_thirty_steps_learn_a_clip_the_same_each_time():
    """The loss falls below 0.6 of what it was (measured: 2.35 -> 1.23, noise alone is 1), and everything moves.

    Trained again with the blocks run again in the backward pass it is the same adapter, to the bit.
    """
    before, after, learned = train(Execution())
    assert after < 0.6 * before
    values = trainable_parameters(trainable(learned))
    start = trainable_parameters(trainable(new_adapter(WanDiT(CONFIG))))
    assert values.keys() == start.keys()
    assert all(not torch.equal(value, start[name]) for name, value in values.items())
    again = trainable_parameters(trainable(train(Execution(checkpoints=True))[2]))
    assert all(torch.equal(value, again[name]) for name, value in values.items())
