"""Feed-forward layers that take fewer tokens at a time."""

from __future__ import annotations

from dataclasses import replace

import torch
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT


def test_short_runs_give_the_same_and_are_gone_afterwards():
    config = DiTConfig(dim=48, ffn_dim=64, heads=4, layers=2, text_dim=16, text_tokens=8, freq_dim=32)
    torch.manual_seed(0)
    model = WanDiT(config)
    inputs = DitInputs(torch.randn(1, 16, 3, 8, 8), torch.tensor([500.0]), torch.randn(1, 8, 16))
    seen = []
    model.blocks[0].ffn[0].register_forward_hook(lambda _layer, args, _out: seen.append(args[0].shape[1]))
    before, lean = [dict(vars(module)) for module in model.modules()], Execution(may_overwrite=True)
    with torch.no_grad():
        usual = model(inputs, lean)
        short = model(inputs, replace(lean, feed_forward_run=20))
        again = model(inputs, lean)
    assert seen == [48, 20, 20, 8, 48]
    torch.testing.assert_close(short, usual, rtol=1e-6, atol=1e-6)
    assert torch.equal(again, usual)
    assert [dict(vars(module)) for module in model.modules()] == before
