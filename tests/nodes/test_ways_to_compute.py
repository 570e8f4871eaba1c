"""How a model computes is chosen where it is loaded, and belongs to its runs: the weights are shared and left alone."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from wan_director.common.errors import MissingPackageError
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, LowRank
from wan_director.dit.attention import ATTENTION, every_token, sdpa_attention
from wan_director.dit.attention.names import PATTERNS
from wan_director.dit.attention.pattern import NOISIEST, attend_tiles
from wan_director.dit.attention.tiles import sliding_tiles
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning
from wan_director.engine.memory import MemorySettings
from wan_director.engine.sampling.sample import run_sampler
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.engine.sampling.stage import more_exact
from wan_director.model_loading.precision import kept_as
from wan_director.nodes.sockets.models import WanModel
from wan_director.weights.casting import CASTINGS

from ..leftovers import everything_on
from .conftest import call

SETTINGS = SamplerSettings(seed=3, steps=3, cfg=3.0, shift=5.0, solver="euler", schedule="simple", denoise=1.0)


@pytest.fixture(autouse=True)
def run_like_the_hosts(tiny_host):
    with torch.inference_mode():
        yield


def halved(q, k, v):
    """A kernel that gives something else than the usual one."""
    return 0.5 * sdpa_attention(q, k, v)


def poisoned(q, k, v):
    """A kernel that overflows."""
    return torch.full_like(sdpa_attention(q, k, v), float("inf"))


@pytest.fixture(autouse=True)
def more_kernels(monkeypatch):
    monkeypatch.setitem(ATTENTION, "halved", lambda: halved)
    monkeypatch.setitem(ATTENTION, "poisoned", lambda: poisoned)


def load(attention: str = "auto", precision: str = "bf16") -> WanModel:
    return call("LoadModel", model_name="t2v.safetensors", precision=precision, attention=attention)


def sample(model: WanModel, blocks_to_swap: int | None = 0, feed_forward_run: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    sides = [Conditioning(torch.randn(1, 512, 128, generator=generator)) for _ in range(2)]
    memory = MemorySettings(blocks_to_swap=blocks_to_swap, feed_forward_run=feed_forward_run)
    return run_sampler(model, *sides, torch.zeros(1, 16, 3, 6, 8), SETTINGS, memory=memory)


def with_loras(model: WanModel) -> WanModel:
    """A change beside a matrix, and one of a parameter that is replaced while its block runs."""
    generator = torch.Generator().manual_seed(2)
    low_rank = LowRank(torch.randn(2, 48, generator=generator), torch.randn(48, 2, generator=generator), 1.0)
    changes = {"blocks.1.self_attn.q.weight": low_rank, "blocks.0.modulation": Full(torch.full((1, 6, 48), 0.1))}
    adapter = Adapter("test", {name: (Change(delta),) for name, delta in changes.items()})
    return replace(model, loras=(AppliedAdapter(adapter, 0.7),))


def test_models_with_another_attention_share_their_weights_and_not_their_kernel():
    usual, other = load(), load("halved")
    assert other is not usual and other.placed is usual.placed
    assert load("halved") is other and load("auto") is usual
    alone = sample(usual)
    assert not torch.equal(sample(other), alone)
    assert torch.equal(sample(usual), alone)


def test_a_matrix_multiplied_in_fp8_is_kept_as_any_scaled_one():
    scaled, fast = load(precision="fp8_scaled"), load(precision="fp8_compute")
    assert fast.placed is scaled.placed
    assert (scaled.execution.multiply, fast.execution.multiply) == ("dense", "fp8")
    alone = sample(scaled)
    assert not torch.equal(sample(fast), alone)
    assert torch.equal(sample(scaled), alone)


def test_only_precisions_that_keep_the_same_numbers_share_them():
    for precision, casting in CASTINGS.items():
        assert CASTINGS[kept_as(precision)] == replace(casting, multiplies=False)
    assert [kept_as(precision) for precision in ("auto", "bf16", "fp8_scaled")] == ["auto", "bf16", "fp8_scaled"]


def test_a_kernel_that_is_not_installed_is_refused_before_anything_is_loaded(monkeypatch, tiny_host):
    monkeypatch.setitem(sys.modules, "sageattention", None)
    before = set(tiny_host.runtime.models)
    with pytest.raises(MissingPackageError, match="sageattention is not installed"):
        load("sage", "fp16")
    assert set(tiny_host.runtime.models) == before


@pytest.mark.parametrize("attention", sorted(PATTERNS))
def test_a_video_that_a_pattern_keeps_whole_is_as_without_it(attention):
    model = load(attention)
    assert (model.execution.attention, model.execution.pattern) == (sdpa_attention, PATTERNS[attention])
    assert torch.equal(sample(model), sample(load()))


def test_a_pattern_works_in_the_steps_with_little_noise(monkeypatch):
    asked = []

    def frames_alone(grid, timesteps):
        asked.append((grid, float(timesteps.max())))
        return partial(attend_tiles, sliding_tiles(grid, (1, 9, 9), (1, 1, 1)))

    monkeypatch.setitem(PATTERNS, "radial", frames_alone)
    assert not torch.equal(sample(load("radial")), sample(load()))
    assert {grid for grid, _ in asked} == {(3, 3, 4)}
    assert [noise >= NOISIEST for _, noise in asked] == [True, True, False, False, False, False]


@pytest.mark.parametrize("attention", ["auto", "halved", "poisoned"])
@pytest.mark.parametrize("blocks_to_swap", [0, 2])
def test_a_run_leaves_nothing_on_the_model(attention, blocks_to_swap):
    model = with_loras(load(attention, "fp8_compute"))
    before = everything_on(model.residence.module)
    sample(model, blocks_to_swap, feed_forward_run=5)
    assert everything_on(model.residence.module) == before


@pytest.mark.parametrize("blocks_to_swap", [0, 2])
def test_a_run_that_fails_leaves_nothing_on_the_model(blocks_to_swap, monkeypatch):
    calls = []

    def failing(q, k, v):
        calls.append(q)
        if len(calls) == 7:  # in the second block of the second question
            raise ValueError("ours")
        return sdpa_attention(q, k, v)

    monkeypatch.setitem(ATTENTION, "failing", lambda: failing)
    model = with_loras(load("failing", "fp8_compute"))
    before = everything_on(model.residence.module)
    with pytest.raises(ValueError, match="ours"):
        sample(model, blocks_to_swap, feed_forward_run=5)
    assert everything_on(model.residence.module) == before


def test_the_exact_ways_are_tried_one_after_the_other():
    fast = Execution(halved, multiply="fp8")
    first, _ = more_exact(fast)
    assert first == replace(fast, attention=sdpa_attention)
    sparse, _ = more_exact(Execution(pattern=PATTERNS["radial"], multiply="fp8"))
    assert sparse == first and sparse.pattern is every_token
    second, _ = more_exact(first)
    assert second == Execution()
    assert more_exact(second) is None
