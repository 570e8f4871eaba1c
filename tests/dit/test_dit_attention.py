"""The table of attention kernels."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from wan_director.common.errors import InvalidInputError, MissingPackageError
from wan_director.dit.attention import ATTENTION, resolve_attention
from wan_director.dit.attention.packages import PACKAGES
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


def heads_first(q, k, v):
    """Dense attention of q, k, v [B, N, L, D]."""
    return softmax_attention(*(each.transpose(1, 2) for each in (q, k, v))).transpose(1, 2).to(q.dtype)


def sageattn(q, k, v, tensor_layout="HND", is_causal=False, sm_scale=None, return_lse=False, **kwargs):
    assert tensor_layout == "NHD"
    return softmax_attention(q, k, v).to(q.dtype)


def sageattn3_blackwell(q, k, v, attn_mask=None, is_causal=False, per_block_mean=True, **kwargs):
    k -= k.mean(dim=-2, keepdim=True)  # as the package does, in place
    return heads_first(q, k, v)


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False):
    return softmax_attention(q, k, v).to(q.dtype)


def flash_attn_3_func(q, k, v, softmax_scale=None, causal=False):
    return softmax_attention(q, k, v).to(q.dtype)


def early_flash_attn_3_func(q, k, v, softmax_scale=None, causal=False):
    return softmax_attention(q, k, v).to(q.dtype), torch.zeros(len(q), q.shape[2], q.shape[1])


def memory_efficient_attention(query, key, value, attn_bias=None, p=0.0, scale=None, *, op=None, output_dtype=None):
    return softmax_attention(query, key, value).to(query.dtype)


def int8_attention(q, k, v, *, scale=None, attn_mask=None):
    return heads_first(q, k, v)


STAND_INS = [
    ("sage", {"sageattn": sageattn}),
    ("sage3", {"sageattn3_blackwell": sageattn3_blackwell}),
    ("flash", {"flash_attn_func": flash_attn_func}),
    ("flash3", {"flash_attn_func": flash_attn_3_func}),
    ("flash3", {"flash_attn_func": early_flash_attn_3_func}),
    ("xformers", {"memory_efficient_attention": memory_efficient_attention}),
    ("comfy_kitchen", {"int8_attention": int8_attention}),
]
"""Packages whose functions have the documented signature and layout, and compute the dense definition."""

BY_NAME = {package.name: package for package in PACKAGES}
every_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


@pytest.mark.parametrize(("name", "functions"), STAND_INS)
@pytest.mark.parametrize("keys", [24, 5])
def test_a_package_is_called_in_its_own_layout(name, functions, keys):
    q = torch.randn(2, 24, 3, 16)
    k, v = torch.randn(2, 2, keys, 3, 16)
    before = k.clone()
    out = BY_NAME[name].adapt(SimpleNamespace(**functions))(q, k, v)
    assert out.shape == q.shape and out.dtype == q.dtype
    torch.testing.assert_close(out.double(), softmax_attention(q, before, v), rtol=1e-5, atol=1e-6)
    assert torch.equal(k, before)


def test_every_package_has_a_stand_in_and_a_name():
    assert {name for name, _ in STAND_INS} == set(BY_NAME)
    assert set(ATTENTION) >= set(BY_NAME)


@every_package
def test_a_missing_package_is_named_when_chosen(package, monkeypatch):
    root = package.module.partition(".")[0]
    monkeypatch.setitem(sys.modules, root, None)  # makes `import root` fail, installed or not
    if package.module != root:
        monkeypatch.delitem(sys.modules, package.module, raising=False)
    with pytest.raises(MissingPackageError) as refusal:
        resolve_attention(package.name)
    assert str(refusal.value) == f"{root} is not installed. Install it, or choose attention 'sdpa'."


@pytest.mark.parametrize(
    "error",
    [ImportError("undefined symbol: x"), ModuleNotFoundError("No module named 'triton'", name="triton")],
    ids=["wrong build", "lacks another"],
)
def test_a_package_that_does_not_load_says_why(error, monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "sageattention":
                raise error

    monkeypatch.delitem(sys.modules, "sageattention", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingPackageError) as refusal:
        resolve_attention("sage")
    assert f"sageattention is installed, but cannot be imported ({error})." in str(refusal.value)


@every_package
def test_a_kernel_for_gpus_refuses_another_device(package):
    with pytest.raises(InvalidInputError, match=f"'{package.name}' needs a GPU, got a model on cpu. Choose .* 'sdpa'"):
        package.check(torch.zeros(1, 2, 1, 64, dtype=torch.bfloat16))


class OnGpu(NamedTuple):
    """What is looked at of queries on a GPU."""

    dtype: torch.dtype = torch.bfloat16
    shape: tuple[int, ...] = (1, 2, 1, 128)
    device: torch.device = torch.device("cuda:0")


@pytest.mark.parametrize(
    ("name", "q", "sentence"),
    [
        ("sage3", OnGpu(), "needs a GPU of compute capability 12.0 or more, got one of 9.0."),
        ("flash", OnGpu(torch.float32), "needs values in bfloat16 or float16, got float32. Choose precision bf16"),
        ("sage", OnGpu(shape=(1, 2, 1, 160)), "needs heads of at most 128, got 160."),
        ("xformers", OnGpu(shape=(1, 2, 1, 512)), "needs heads of at most 256, got 512."),
    ],
)
def test_what_does_not_fit_a_kernel_is_refused(name, q, sentence, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(InvalidInputError) as refusal:
        BY_NAME[name].check(q)
    assert sentence in str(refusal.value)


def test_head_sizes_that_are_few_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (12, 0))
    with pytest.raises(InvalidInputError, match="heads of 64 or 128, got 96"):
        BY_NAME["sage3"].check(OnGpu(shape=(1, 2, 1, 96)))


@pytest.mark.gpu
@every_package
def test_a_package_equals_softmax_within_its_precision(package):
    pytest.importorskip(package.module)
    q, k, v = torch.randn(3, 1, 1000, 4, 128, device="cuda", dtype=torch.bfloat16)
    try:
        package.check(q)
    except InvalidInputError as refusal:
        pytest.skip(str(refusal))
    with torch.no_grad():
        out = package.load()(q, k, v)
    exact = softmax_attention(q, k, v)
    # Of the result's size: bfloat16 rounds by 2**-9, 8-bit numbers by some hundredths, and 4-bit ones by a tenth in
    # each of q, k, the weights and v.
    allowed = {"sage": 0.1, "comfy_kitchen": 0.1, "sage3": 0.4}.get(package.name, 0.01)
    assert (out.double() - exact).norm() / exact.norm() < allowed


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InvalidInputError) as refusal:
        resolve_attention("nothing")
    assert all(name in str(refusal.value) for name in ("nothing", *ATTENTION))


def test_the_model_uses_the_kernel_it_was_given(make_inputs):
    config = DiTConfig(dim=32, ffn_dim=64, heads=2, layers=2, text_dim=16, text_tokens=8)
    calls = []

    def counting(q, k, v):
        calls.append(q.shape)
        return ATTENTION["sdpa"]()(q, k, v)

    WanDiT(config)(make_inputs(config, shape=(1, 4, 4)), Execution(attention=counting))
    assert calls == [(1, 4, 2, 16)] * 4  # self- and cross-attention of two blocks
