"""A text to lead away from in cross-attention, and other places of the tokens: restated, and off equals absent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from wan_director.dit.block.attention import CrossAttention
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import Avoided, Context
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.rope import TokenPlaces, make_rope

CONFIG = DiTConfig(dim=48, ffn_dim=64, heads=4, layers=2, text_dim=12)
SCALE, ALPHA, TAU = 11.0, 0.25, 2.5


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(module: nn.Module) -> nn.Module:
    for number, parameter in enumerate(module.parameters()):
        parameter.data = 0.2 * random(*parameter.shape, seed=number)
    return module


def restated(layer: CrossAttention, x: torch.Tensor, text: torch.Tensor, other: torch.Tensor, tau: float):
    """Equations 7 to 9 of arXiv 2505.21179, in float64 and written out token by token."""
    layer = layer.double()

    def normed(norm: nn.Module, value: torch.Tensor) -> torch.Tensor:
        return value / (value.square().mean(-1, keepdim=True) + CONFIG.eps).sqrt() * norm.weight

    def attended(shown: torch.Tensor) -> torch.Tensor:
        q, k, v = normed(layer.norm_q, layer.q(x)), normed(layer.norm_k, layer.k(shown)), layer.v(shown)
        split = (each.unflatten(-1, (4, -1)).transpose(1, 2) for each in (q, k, v))
        return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)

    near, far = attended(text), attended(other)
    out = near.clone()
    for video in range(near.shape[0]):
        for token in range(near.shape[1]):
            guided = SCALE * near[video, token] - (SCALE - 1) * far[video, token]
            ratio = guided.abs().sum() / near[video, token].abs().sum()
            guided = guided * min(ratio, tau) / ratio
            out[video, token] = ALPHA * guided + (1 - ALPHA) * near[video, token]
    return layer.o(out)


@pytest.mark.parametrize("tau", [1.0, TAU, 1e6])
@pytest.mark.parametrize("may_overwrite", [False, True])
def test_attention_leads_away_as_the_paper_says(tau, may_overwrite):
    layer = filled(CrossAttention(CONFIG, nn))
    x, text, other = random(2, 30, 48, seed=91), random(2, 7, 48, seed=92), random(2, 5, 48, seed=93)
    context = Context(torch.zeros(0), torch.zeros(0), text, None, Avoided(other, SCALE, ALPHA, tau))
    with torch.no_grad():
        ours = layer(x.clone(), context, Execution(may_overwrite=may_overwrite))
        expected = restated(layer, x.double(), text.double(), other.double(), tau)
    assert (ours - expected).abs().max() < 2e-6 * expected.abs().max()


@pytest.fixture
def model() -> WanDiT:
    return filled(WanDiT(CONFIG)).eval()


@pytest.fixture
def inputs() -> DitInputs:
    return DitInputs(random(1, 16, 3, 4, 6, seed=1), torch.tensor([700.0]), random(1, 5, 12, seed=2))


@torch.no_grad()
def test_the_same_text_leads_nowhere_and_another_one_does(model, inputs):
    plain = model(inputs)
    same = model(replace(inputs, avoided=Avoided(inputs.text, SCALE, ALPHA, TAU)))
    away = model(replace(inputs, avoided=Avoided(random(1, 5, 12, seed=3), SCALE, ALPHA, TAU)))
    assert (same - plain).abs().max() < 1e-5 * plain.abs().max()
    assert (away - plain).abs().max() > 1e-3 * plain.abs().max()


def test_places_of_tokens_are_scaled_and_shifted():
    plain, twice = make_rope(12, (5, 2, 3)), make_rope(12, (3, 2, 3), places=TokenPlaces((2.0, 1.0, 1.0)))
    frames = plain.view(5, 2, 3, -1), twice.view(3, 2, 3, -1)
    assert torch.equal(frames[1], frames[0][::2])
    shifted = make_rope(12, (2, 2, 2), places=TokenPlaces(shift=(3.0, 0.0, 1.0))).view(2, 2, 2, -1)
    assert torch.equal(shifted, frames[0][3:, :, 1:])


@torch.no_grad()
def test_places_as_trained_are_no_change_to_the_bit(model, inputs):
    assert torch.equal(model(replace(inputs, places=TokenPlaces())), model(inputs))
    assert not torch.equal(model(replace(inputs, places=TokenPlaces((2.0, 1.0, 1.0)))), model(inputs))
