"""The table of attention kernels."""

from __future__ import annotations

import sys

import pytest
import torch
from wan_director.common.errors import InvalidInputError, MissingPackageError
from wan_director.dit.attention import ATTENTION, resolve_attention
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.model import WanDiT


def softmax_attention(q, k, v):
    scores = torch.einsum("blnd,bmnd->bnlm", q.double(), k.double()) / q.shape[-1] ** 0.5
    return torch.einsum("bnlm,bmnd->blnd", scores.softmax(-1), v.double())


@pytest.mark.parametrize("name", ["auto", "sdpa"])
@pytest.mark.parametrize("keys", [24, 5])
def test_attention_equals_softmax_in_float64(name, keys):
    q = torch.randn(2, 24, 3, 16)
    k, v = torch.randn(2, 2, keys, 3, 16)
    out = resolve_attention(name)(q, k, v)
    assert out.shape == q.shape
    torch.testing.assert_close(out.double(), softmax_attention(q, k, v), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "module"), [("sage", "sageattention"), ("flash", "flash_attn")])
def test_a_missing_package_is_named_when_chosen(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # makes `import module` fail, installed or not
    with pytest.raises(MissingPackageError) as refusal:
        resolve_attention(name)
    assert str(refusal.value) == f"{module} is not installed. Install it, or choose attention 'sdpa'."


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InvalidInputError) as refusal:
        resolve_attention("xformers")
    assert all(name in str(refusal.value) for name in ("xformers", *ATTENTION))


def test_the_model_uses_the_kernel_it_was_given(make_inputs):
    config = DiTConfig(dim=32, ffn_dim=64, heads=2, layers=2, text_dim=16, text_tokens=8)
    calls = []

    def counting(q, k, v):
        calls.append(q.shape)
        return ATTENTION["sdpa"]()(q, k, v)

    WanDiT(config)(make_inputs(config, shape=(1, 4, 4)), Execution(attention=counting))
    assert calls == [(1, 4, 2, 16)] * 4  # self- and cross-attention of two blocks
