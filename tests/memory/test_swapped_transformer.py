"""The transformer with swapped blocks beside itself resident: every bit, in every combination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import nn
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, LowRank, adapted
from wan_director.dit.adapters.layers import ChangeParts
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, ignore_block
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import RunningDiT, WanDiT
from wan_director.memory.policy import RESIDENT, BlockSwap, swapped_blocks
from wan_director.memory.residency import Weights
from wan_director.memory.slabs import Slabs
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG
from wan_director.sampling.step import NoiseLevel
from wan_director.weights import layers
from wan_director.weights.fp8 import FP8
from wan_director.weights.stored import StoredWeight

CPU = torch.device("cpu")
PINNED = 10**9
CONFIG = DiTConfig(dim=48, ffn_dim=64, heads=4, layers=5, text_dim=24, text_tokens=16, freq_dim=32)
I2V = DiTConfig(
    dim=48,
    ffn_dim=64,
    heads=4,
    layers=5,
    text_dim=24,
    text_tokens=16,
    freq_dim=32,
    in_channels=36,
    branches=(ClipBranch(32),),
)
PRECISIONS = ("fp32", "bf16", "fp8")


def model(config: DiTConfig, precision: str) -> WanDiT:
    """Random weights; for fp8 the matrices are stored with a scale, the rest is bf16."""
    torch.manual_seed(3)
    module = WanDiT(config, layers if precision == "fp8" else nn).eval().requires_grad_(False)
    if precision != "fp32":
        module.to(torch.bfloat16)
    if precision == "fp8":
        for layer in module.blocks.modules():
            if isinstance(layer, layers.Linear):
                parts = {"weight": layer.weight.to(torch.float8_e4m3fn), "scale": torch.tensor(0.7)}
                layer.store(StoredWeight(FP8, parts, tuple(layer.weight.shape)))
    return module


def inputs(config: DiTConfig, seed: int = 0) -> DitInputs:
    torch.manual_seed(seed)
    image, clip = None, ()
    if config.image_channels:
        image = torch.randn(1, config.image_channels, 2, 6, 8)
        clip = (ClipInput(torch.randn(1, 9, config.branch(ClipBranch).dim)),)
    text = torch.randn(1, config.text_tokens, config.text_dim)
    return DitInputs(torch.randn(1, 16, 2, 6, 8), torch.tensor([500.0]), text, image, clip)


def lora(module: WanDiT) -> AppliedAdapter:
    """A low-rank change to three layers of every block."""
    torch.manual_seed(5)
    changes = {}
    for index in range(len(module.blocks)):
        for name in ("self_attn.q", "cross_attn.k", "ffn.0"):
            layer = module.get_submodule(f"blocks.{index}.{name}")
            low_rank = LowRank(torch.randn(2, layer.in_features), torch.randn(layer.out_features, 2), 0.5)
            changes[f"blocks.{index}.{name}.weight"] = (Change(low_rank),)
    return AppliedAdapter(Adapter("test", changes), 0.8)


def shifts(module: WanDiT) -> AppliedAdapter:
    """A change to a parameter of every block that is no matrix."""
    names = [f"blocks.{index}.modulation" for index in range(len(module.blocks))]
    changes = {name: (Change(Full(torch.ones_like(module.get_parameter(name)))),) for name in names}
    return AppliedAdapter(Adapter("shifts", changes), 0.8)


@torch.no_grad()
def forward(module: WanDiT, policy, slabs: Slabs, given: DitInputs, on_block=ignore_block) -> torch.Tensor:
    with policy.streaming(module.streamed_blocks, CPU, slabs) as stream:
        return module(given, Execution(stream=stream, may_overwrite=True, on_block=on_block))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("config", [CONFIG, I2V], ids=["t2v", "i2v"])
@pytest.mark.parametrize("with_lora", [False, True], ids=["plain", "lora"])
def test_swapped_equals_resident(precision, config, with_lora):
    module, slabs, given = model(config, precision), Slabs(), inputs(config)
    stack = [lora(module)] if with_lora else []
    with adapted(module, stack):
        resident = forward(module, RESIDENT, slabs, given)
    assert resident.isfinite().all()
    for blocks in (1, 2, 3, 5):
        for pinned in (PINNED, 0):
            with adapted(module, stack):
                assert torch.equal(forward(module, BlockSwap(blocks, pinned), slabs, given), resident)
    with adapted(module, stack):
        assert torch.equal(forward(module, RESIDENT, slabs, given), resident)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception_or_a_cancel_it_is_as_before(precision, error):
    module, slabs, given = model(CONFIG, precision), Slabs(), inputs(CONFIG)
    resident = forward(module, RESIDENT, slabs, given)

    def stop(index: int, _tokens: Sequence[torch.Tensor]) -> None:
        if index == 2:
            raise error

    for policy in (BlockSwap(5, PINNED), BlockSwap(3, 0)):
        with pytest.raises(error):
            forward(module, policy, slabs, given, stop)
        assert torch.equal(forward(module, policy, slabs, given), resident)
        assert torch.equal(forward(module, RESIDENT, slabs, given), resident)


@pytest.mark.parametrize("fitting", range(0, 20, 3))
def test_adapters_that_do_not_fit_leave_nothing_behind(monkeypatch, fitting):
    module = model(CONFIG, "bf16")
    stack, modules, given = [lora(module), shifts(module)], list(module.modules()), inputs(CONFIG)
    plain = forward(module, RESIDENT, Slabs(), given)
    prepare, left = ChangeParts.__init__, [fitting]

    def full(*arguments):
        if not left[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
        left[0] -= 1
        prepare(*arguments)

    monkeypatch.setattr(ChangeParts, "__init__", full)
    with pytest.raises(torch.OutOfMemoryError), adapted(module, stack):
        raise AssertionError("20 changes should not fit")
    assert list(module.modules()) == modules
    assert torch.equal(forward(module, RESIDENT, Slabs(), given), plain)


def test_in_inference_mode_too():
    """ComfyUI runs nodes in it; the thread that fills buffers has a mode of its own."""
    module, slabs, given = model(CONFIG, "bf16"), Slabs(), inputs(CONFIG)
    resident = forward(module, RESIDENT, slabs, given)
    for policy in (BlockSwap(4, 0), BlockSwap(4, PINNED)):
        with torch.inference_mode():
            assert torch.equal(forward(module, policy, slabs, given), resident)
        assert torch.equal(forward(module, policy, slabs, given), resident)


@torch.no_grad()
@pytest.mark.parametrize("config", [CONFIG, I2V], ids=["t2v", "i2v"])
def test_passes_together_equal_one_after_the_other_and_fetch_weights_once(config):
    module, slabs = model(config, "bf16"), Slabs()
    pair = [inputs(config, seed) for seed in (1, 2)]
    apart = [module(given) for given in pair]
    turns = Counter()

    def counting(blocks):
        for block in blocks:
            turns[block] += 1
            yield block

    together = module.forward_together(pair, Execution(stream=counting, may_overwrite=True))
    assert all(torch.equal(one, other) for one, other in zip(together, apart))
    assert set(turns.values()) == {1}
    with BlockSwap(3, PINNED).streaming(module.streamed_blocks, CPU, slabs) as stream:
        together = module.forward_together(pair, Execution(stream=stream, may_overwrite=True))
        assert all(torch.equal(one, other) for one, other in zip(together, apart))


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_denoiser_gives_the_same_bits_with_passes_together(scale):
    module = model(CONFIG, "fp32")
    sides = [Conditioning(inputs(CONFIG, seed).text) for seed in (1, 2)]
    level, latent = NoiseLevel(0, 2, 0.5, 500.0), inputs(CONFIG).latent
    turns = Counter()

    def counting(blocks):
        for block in blocks:
            turns[block] += 1
            yield block

    apart = Denoiser(module, *sides, guidance=CFG(scale)).start()(latent, level)
    counted = RunningDiT(module, Execution(stream=counting, may_overwrite=True))
    joined = Denoiser(counted, *sides, guidance=CFG(scale), grouped=lambda asks: [asks]).start()(latent, level)
    assert torch.equal(apart, joined)
    assert set(turns.values()) == {1}


def test_only_resident_weights_go_to_the_device():
    module = model(CONFIG, "fp8")
    weights, policy = Weights(module), BlockSwap(3)
    before = {name: value.data_ptr() for name, value in module.state_dict().items()}
    weights.leave_out(swapped_blocks(policy, module))
    expected = weights.size_bytes()
    weights.load(torch.device("meta"))
    away = set(policy.swapped(5))
    for index, block in enumerate(module.blocks):
        assert {value.device.type for value in block.state_dict().values()} == {"cpu" if index in away else "meta"}
    assert module.head.head.weight.is_meta
    assert weights.loaded_bytes == expected
    weights.unload()
    assert {name: value.data_ptr() for name, value in module.state_dict().items()} == before


def test_footprint_counts_what_a_policy_takes():
    sizes = [100] * 10
    assert RESIDENT.footprint(sizes, CPU) == (1000, 0, 0, 0)
    assert BlockSwap(0).footprint(sizes, CPU) == (1000, 0, 0, 0)
    assert BlockSwap(4, 1000).footprint(sizes, CPU) == (800, 400, 0, 400)
    assert BlockSwap(10, 450).footprint(sizes, CPU) == (200, 600, 600, 1000)
    assert BlockSwap(2, 1000).footprint(sizes, CPU) == (1000, 200, 0, 0)
    assert BlockSwap(99, 0).footprint(sizes, CPU) == (200, 200, 1000, 1000)


def test_policies_take_less_step_by_step_until_all_is_swapped():
    policy, blocks = RESIDENT, []
    while (policy := policy.lowered(40)) is not None:
        blocks.append(policy.blocks)
    assert blocks == [10, 20, 30, 40]
    assert BlockSwap(35, 7).lowered(40) == BlockSwap(40, 7)
    assert RESIDENT.lowered(2) == BlockSwap(2) and BlockSwap(2).lowered(2) is None
