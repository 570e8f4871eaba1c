"""Initial values of parameters."""

from __future__ import annotations

import torch
from wan_director.common.initial import scaled_normal


def test_initial_values_are_those_of_torch_randn():
    torch.manual_seed(3)
    expected = torch.randn(2, 5, 700) / 64**0.5
    state = torch.get_rng_state()
    torch.manual_seed(3)
    assert torch.equal(scaled_normal(2, 5, 700, width=64), expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_on_the_meta_device_there_are_none():
    with torch.device("meta"):
        values = scaled_normal(3, 4, width=4)
    assert values.is_meta and values.shape == (3, 4) and values.dtype == torch.float32
