"""Changes that are computed from the whole weight: merged at every use, whatever form it is stored in."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, LowRank, Rewritten, adapted
from wan_director.dit.block import Block
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.weights import layers
from wan_director.weights.casting import Casting, cast_matrix


class Holder(nn.Module):
    """A matrix and a norm, as adapters name them."""

    def __init__(self, stored: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.matrix = layers.Linear(24, 16)
        self.norm = layers.LayerNorm(16)
        self.requires_grad_(False)
        if stored:
            self.matrix.store(cast_matrix(self.matrix.weight, Casting(torch.float8_e4m3fn, "row")))

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.matrix(x))


def adapter(**changes: tuple[Change, ...]) -> AppliedAdapter:
    return AppliedAdapter(Adapter("test", {name.replace("__", "."): each for name, each in changes.items()}))


@pytest.mark.parametrize("stored", [False, True])
def test_a_rewritten_weight_is_computed_from_the_numbers_it_stands_for(stored):
    holder, x = Holder(stored), torch.randn(5, 24)
    before = holder(x)
    weight, bias = holder.matrix.dense_weight(), holder.matrix.bias
    rewritten = adapter(
        matrix__weight=(Change(Rewritten(lambda own: own.mul_(2).sin())),),
        matrix__bias=(Change(Rewritten(lambda own: own + 1)),),
        norm__weight=(Change(Rewritten(lambda own: own * 3)),),
    )
    with torch.no_grad(), adapted(holder, [rewritten]):
        made = holder(x)
    hidden = torch.nn.functional.linear(x, (weight * 2).sin(), bias + 1)
    expected = torch.nn.functional.layer_norm(hidden, (16,), holder.norm.weight * 3, holder.norm.bias)
    assert (made - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert torch.equal(holder(x), before), "the weights must be as they were"


@pytest.mark.parametrize("stored", [False, True])
def test_beside_a_lora_both_count(stored):
    holder, x = Holder(stored), torch.randn(5, 24)
    down, up = torch.randn(2, 24), torch.randn(16, 2)
    both = adapter(matrix__weight=(Change(Rewritten(lambda own: own * 0.5)), Change(LowRank(down, up, 0.3))))
    with torch.no_grad(), adapted(holder, [both]):
        made = holder.matrix(x)
    expected = torch.nn.functional.linear(x, holder.matrix.dense_weight() * 0.5 + 0.3 * up @ down, holder.matrix.bias)
    assert (made - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_what_stands_between_attention_and_feed_forward_counts_and_the_default_is_nothing():
    from wan_director.dit.context import Context
    from wan_director.dit.rope import make_rope

    torch.manual_seed(1)
    config = DiTConfig(dim=32, ffn_dim=48, heads=2, layers=1, text_dim=32)
    block = Block(config, nn).requires_grad_(False)
    context = Context(torch.randn(1, 1, 6, 32), make_rope(16, (1, 2, 3)), torch.randn(1, 4, 32), None)
    tokens = torch.randn(1, 6, 32)
    plain = block(tokens, context, Execution())
    assert torch.equal(block(tokens, context, Execution(after_attention=lambda x: x)), plain)
    assert not torch.equal(block(tokens, context, Execution(after_attention=lambda x: x * 1.5)), plain)
