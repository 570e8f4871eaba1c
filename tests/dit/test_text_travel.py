"""Texts that take turns in time: restated frame by frame, one text equals none to the bit, and each in its place."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from wan_director.common.errors import PairingError
from wan_director.dit.block.attention import CrossAttention
from wan_director.dit.branches.reference import ReferenceBranch, ReferenceInput
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import Context, SpansInTime, TextSpan, TextTravel
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT

SIZES = {"dim": 48, "ffn_dim": 64, "heads": 4, "layers": 2, "text_dim": 12, "text_tokens": 5}
CONFIG = DiTConfig(**SIZES)
FRAMES, TOKENS = 5, 6
SHARES = torch.tensor([[1.0, 0.7, 0.25, 0.0, 0.0], [0.0, 0.3, 0.5, 1.0, 0.0], [0.0, 0.0, 0.25, 0.0, 1.0]])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(module: nn.Module) -> nn.Module:
    for number, parameter in enumerate(module.parameters()):
        parameter.data = 0.2 * random(*parameter.shape, seed=number)
    return module


def texts(count: int = 3, width: int = 12) -> tuple[torch.Tensor, ...]:
    return tuple(random(1, 5, width, seed=50 + number) for number in range(count))


@pytest.fixture
def model() -> WanDiT:
    return filled(WanDiT(CONFIG)).eval().requires_grad_(False)


@pytest.fixture
def inputs() -> DitInputs:
    return DitInputs(random(1, 16, FRAMES, 4, 6, seed=1), torch.tensor([700.0]), random(1, 5, 12, seed=2))


@torch.no_grad()
@pytest.mark.parametrize("may_overwrite", [False, True])
def test_each_frame_sees_its_texts_by_their_shares(may_overwrite):
    """Written out frame by frame in float64: the result of attention to each text, mixed, then the last matrix."""
    layer = filled(CrossAttention(CONFIG, nn))
    x, shown = random(2, FRAMES * TOKENS, 48, seed=91), texts(width=48)
    spans = tuple(
        TextSpan(text.expand(2, -1, -1), 0, FRAMES, share.view(1, -1, 1, 1, 1)) for text, share in zip(shown, SHARES)
    )
    context = Context(torch.zeros(0), torch.zeros(0), shown[0], None, in_time=SpansInTime(spans, FRAMES))
    ours = layer(x.clone(), context, Execution(may_overwrite=may_overwrite))

    layer, x = layer.double(), x.double()

    def normed(norm: nn.Module, value: torch.Tensor) -> torch.Tensor:
        return value / (value.square().mean(-1, keepdim=True) + CONFIG.eps).sqrt() * norm.weight

    expected = torch.zeros_like(x)
    for frame in range(FRAMES):
        own = slice(frame * TOKENS, (frame + 1) * TOKENS)
        for text, share in zip(shown, SHARES[:, frame]):
            text = text.double().expand(2, -1, -1)
            q, k, v = normed(layer.norm_q, layer.q(x[:, own])), normed(layer.norm_k, layer.k(text)), layer.v(text)
            heads = (each.unflatten(-1, (4, -1)).transpose(1, 2) for each in (q, k, v))
            expected[:, own] += share * F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    expected = layer.o(expected)
    assert (ours - expected).abs().max() < 2e-6 * expected.abs().max()


@torch.no_grad()
def test_one_text_all_the_time_is_that_text_to_the_bit(model, inputs):
    other = random(1, 5, 12, seed=3)
    alone = replace(inputs, travel=TextTravel((inputs.text,), torch.ones(1, FRAMES)))
    assert torch.equal(model(alone), model(inputs))
    idle = TextTravel((inputs.text, other), torch.tensor([[1.0], [0.0]]).expand(2, FRAMES))
    assert torch.equal(model(replace(inputs, travel=idle)), model(inputs))
    assert not torch.equal(model(replace(inputs, travel=idle._replace(shares=1 - idle.shares))), model(inputs))


@torch.no_grad()
def test_the_same_text_twice_is_that_text(model, inputs):
    plain = model(inputs)
    twice = model(replace(inputs, travel=TextTravel((inputs.text,) * 3, SHARES)))
    assert (twice - plain).abs().max() < 1e-5 * plain.abs().max()


@torch.no_grad()
def test_a_video_is_steered_with_its_control_video_and_behind_references():
    steered = (
        (VaceBranch(2), VaceInput(random(1, 96, FRAMES, 4, 6, seed=4), 1.0)),
        (ReferenceBranch(16), ReferenceInput(random(1, 16, 1, 4, 6, seed=4))),
    )
    for branch, steering in steered:
        model = filled(WanDiT(replace(CONFIG, branches=(branch,)))).eval()
        latent = random(1, 16, FRAMES, 4, 6, seed=1)
        plain = DitInputs(latent, torch.tensor([700.0]), texts()[0], steering=(steering,))
        travel = TextTravel((texts()[0],) * 3, SHARES)
        expected = model(plain)
        assert (model(replace(plain, travel=travel)) - expected).abs().max() < 1e-5 * expected.abs().max()
        assert not torch.allclose(model(replace(plain, travel=travel._replace(texts=texts()))), expected, atol=1e-3)


def test_a_window_cuts_the_shares_and_a_device_takes_the_texts():
    prompt = Conditioning(texts()[0], travel=TextTravel(texts(), SHARES))
    cut = prompt.window(Cut(1, 3, FRAMES)).travel
    assert torch.equal(cut.shares, SHARES[:, 1:3]) and cut.texts == prompt.travel.texts
    moved = prompt.to(torch.device("meta")).travel
    assert {text.device.type for text in moved.texts} == {"meta"} and moved.shares is SHARES
    with pytest.raises(PairingError, match="made for 5 latent frames, but the latent has 7"):
        prompt.window(Cut(1, 3, 7))


def test_texts_and_shares_that_do_not_fit_are_refused(model, inputs):
    with pytest.raises(PairingError, match=r"3 texts in time with shares of the shape \[3, 4\].*latent has 5 frames"):
        model(replace(inputs, travel=TextTravel(texts(), SHARES[:, :4])))
    with pytest.raises(PairingError, match="width 9"):
        model(replace(inputs, travel=TextTravel(texts(width=9), SHARES)))
