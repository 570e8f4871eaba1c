"""Faults in the middle of sampling: out of memory at every kind of place, values that are no numbers, cancel."""

from __future__ import annotations

import contextlib
import copy
import logging
from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import NumericalError, OutOfMemory
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, LowRank, ParameterShapes
from wan_director.dit.attention import ATTENTION, sdpa_attention
from wan_director.dit.execution import Lean, lean_ways
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import WanDiT
from wan_director.engine.local import Interrupted, LocalResidence
from wan_director.engine.memory import AUTOMATIC, MemorySettings
from wan_director.engine.models import VideoModel, load_model
from wan_director.engine.previews import preview as engine_preview
from wan_director.engine.previews.moving import PreviewWish
from wan_director.engine.recipe import ModelRecipe
from wan_director.engine.sampling import stage, task
from wan_director.engine.sampling.job import choose, sampling_job
from wan_director.engine.sampling.sample import run_sampler
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.engine.tasks import bytes_of
from wan_director.memory.plan import Choice
from wan_director.memory.policy import RESIDENT, BlockSwap
from wan_director.nodes.hosts.host import host
from wan_director.weights import layers

TOO_MUCH = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
SPELLINGS = [
    TOO_MUCH,
    RuntimeError("MPS backend out of memory (MPS allocated: 8.0 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
    MemoryError(),
]


@pytest.fixture(autouse=True)
def on_the_tiny_host(tiny_host):
    with torch.inference_mode():
        yield


def load(precision: str = "fp32") -> VideoModel:
    path = host().find_model("diffusion_models", "t2v.safetensors")
    return load_model(ModelRecipe(path, precision=precision), host().runtime)


def settings(solver: str = "euler") -> SamplerSettings:
    return SamplerSettings(seed=3, steps=3, cfg=3.0, shift=5.0, solver=solver, schedule="simple", denoise=1.0)


def sample(model: VideoModel, memory=RESIDENT, solver: str = "euler") -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    sides = [Conditioning(torch.randn(1, 512, 128, generator=generator)) for _ in range(2)]
    swaps = (memory.blocks, memory.pinned_bytes) if isinstance(memory, BlockSwap) else (0, None)
    wanted = MemorySettings(blocks_to_swap=swaps[0], pinned_bytes=swaps[1])
    return run_sampler(model, *sides, torch.zeros(1, 16, 3, 6, 8), settings(solver), memory=wanted)


class Fault:
    """A hook that raises at one call of a module."""

    def __init__(self, error: BaseException, at_call: int) -> None:
        self.error = error
        self.calls_left = at_call

    def __call__(self, *_call) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            raise self.fresh()

    def fresh(self) -> BaseException:
        """A copy: an error that outlives its test keeps the models that its traceback leads to."""
        return copy.copy(self.error)


def place(module: torch.nn.Module, name: str) -> torch.nn.Module:
    return {"embed": module.patch_embedding, "block 0": module.blocks[0], "block 1": module.blocks[1].ffn}.get(
        name, module.head
    )


@contextlib.contextmanager
def fault(model: VideoModel, where: str, error: BaseException = TOO_MUCH, at_call: int = 3):
    handle = place(model.residence.module, where).register_forward_hook(Fault(error, at_call))
    try:
        yield
    finally:
        handle.remove()


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("solver", ["unipc", "heun", "dpmpp_sde"])
@pytest.mark.parametrize("where", ["embed", "block 0", "block 1", "head"])
def test_out_of_memory_in_a_step_changes_nothing_but_the_swapping(where, solver, caplog):
    model = load()
    undisturbed = sample(model, solver=solver)
    caplog.clear()
    with fault(model, where):
        assert torch.equal(sample(model, solver=solver), undisturbed)
    assert len(warnings(caplog)) == 1 and "2 of 2 blocks are swapped" in warnings(caplog)[0]
    assert torch.equal(sample(model, solver=solver), undisturbed)


def test_out_of_memory_lets_go_of_plain_matrices_before_blocks_are_swapped(caplog):
    model = load("fp8_scaled")
    with caplog.at_level(logging.INFO, "wan_director"):
        undisturbed = sample(model)
    assert "quantised matrices of 2 of 2 blocks are made plain once and kept" in caplog.text
    caplog.clear()
    with fault(model, "block 1"):
        assert torch.equal(sample(model), undisturbed)
    assert len(warnings(caplog)) == 1 and "no matrix is kept as plain numbers" in warnings(caplog)[0]


@pytest.mark.parametrize("error", SPELLINGS, ids=lambda error: str(error)[:20] or "MemoryError")
def test_every_spelling_of_out_of_memory_is_understood(error):
    model = load()
    undisturbed = sample(model)
    with fault(model, "block 1", error):
        assert torch.equal(sample(model), undisturbed)


@pytest.mark.parametrize("memory", [BlockSwap(1, 10**9), BlockSwap(1, 0)], ids=["slabs", "staged"])
def test_a_run_that_already_swaps_swaps_more(memory):
    model = load()
    undisturbed = sample(model)
    with fault(model, "block 0"):
        assert torch.equal(sample(model, memory), undisturbed)


def test_out_of_memory_while_the_loras_are_attached(monkeypatch, caplog):
    model = load()
    generator = torch.Generator().manual_seed(2)
    low_rank = LowRank(torch.randn(2, 48, generator=generator), torch.randn(48, 2, generator=generator), 1.0)
    adapter = Adapter("test", {"blocks.1.self_attn.q.weight": (Change(low_rank),)})
    model = replace(model, loras=(AppliedAdapter(adapter, 1.0),))
    undisturbed = sample(model)
    attach, attempts = stage.adapted, []

    def failing(*arguments):
        attempts.append(arguments)
        if len(attempts) == 1:
            raise copy.copy(TOO_MUCH)
        return attach(*arguments)

    monkeypatch.setattr(stage, "adapted", failing)
    assert torch.equal(sample(model), undisturbed)
    assert len(attempts) == 2 and len(warnings(caplog)) == 1


def test_out_of_memory_in_a_preview_costs_only_the_preview(monkeypatch, caplog):
    model = load()
    undisturbed = sample(model)

    def preview(*_arguments):
        raise copy.copy(TOO_MUCH)

    monkeypatch.setattr(host().runtime, "preview_wish", lambda _family: PreviewWish(512))
    monkeypatch.setattr(engine_preview, "moving", preview)
    assert torch.equal(sample(model), undisturbed)
    assert len(warnings(caplog)) == 3 and all("preview" in line for line in warnings(caplog))


def seen_ways(model: VideoModel) -> list[Lean | None]:
    """How its first block is run, each time it is."""
    ways: list[Lean | None] = []
    model.residence.module.blocks[0].register_forward_pre_hook(lambda _block, given: ways.append(given[-1].lean))
    return ways


def test_when_all_blocks_are_swapped_they_keep_less(caplog):
    model = load()
    undisturbed, ways = sample(model), seen_ways(model)

    def too_much(_block, given):
        if given[-1].lean is None or not given[-1].lean.keys_in_groups:
            raise copy.copy(TOO_MUCH)

    model.residence.module.blocks[0].register_forward_pre_hook(too_much)
    torch.testing.assert_close(sample(model, BlockSwap(2, 10**9)), undisturbed, rtol=1e-5, atol=1e-5)
    assert ways[:3] == list(lean_ways(model.spec.config.heads)) and set(ways[3:]) == {ways[2]}
    assert [line.partition(": ")[2].partition(" from now on")[0] for line in warnings(caplog)] == [
        "a block keeps less while it runs"
    ] * 2


@pytest.mark.parametrize("leanness", [0, 1, 2])
def test_blocks_run_as_the_planner_chose(leanness, monkeypatch):
    model, choose_way = load(), MemorySettings.choose
    ways = seen_ways(model)

    def choose(*asked) -> Choice:
        choice = choose_way(*asked)
        return replace(choice, way=next(way for way in choice.task.ways if way.leanness == leanness))

    monkeypatch.setattr(MemorySettings, "choose", choose)
    sample(model)
    assert set(ways) == {lean_ways(model.spec.config.heads)[leanness]}


def test_a_video_that_never_fits_ends_in_a_sentence(monkeypatch):
    model = load()
    undisturbed = sample(model)
    handle = model.residence.module.head.register_forward_hook(Fault(TOO_MUCH, 1))
    monkeypatch.setattr(Fault, "__call__", lambda self, *_call: (_ for _ in ()).throw(self.fresh()))
    monkeypatch.setattr(type(host().runtime), "free_bytes", lambda self, device: 1)
    with pytest.raises(OutOfMemory, match="9 frames with t2v.safetensors does not fit on cpu.*Make the video smaller"):
        sample(model)
    handle.remove()
    assert torch.equal(sample(model), undisturbed)


def test_what_would_fit_is_named(monkeypatch):
    model = load()
    sides = (Conditioning(torch.zeros(1, 512, 128)),) * 2
    latent = torch.zeros(1, 16, 3, 6, 8)
    job = sampling_job(model, sides, latent, AUTOMATIC)
    needed = choose(model, job).way.working_bytes
    monkeypatch.setattr(type(host().runtime), "free_bytes", lambda self, device: needed * 2 // 3 + 1)
    handle = model.residence.module.head.register_forward_hook(
        lambda *_call: (_ for _ in ()).throw(copy.copy(TOO_MUCH))
    )
    with pytest.raises(OutOfMemory, match="at most 5 frames long"):
        sample(model)
    handle.remove()


@pytest.mark.parametrize("error", [Interrupted(), KeyboardInterrupt(), ValueError("ours")])
@pytest.mark.parametrize("memory", [RESIDENT, BlockSwap(2, 10**9), BlockSwap(2, 0)], ids=["all", "slabs", "staged"])
def test_other_errors_and_a_cancel_pass_and_leave_the_model_whole(error, memory):
    model = load()
    undisturbed = sample(model)
    with fault(model, "block 1", error), pytest.raises(type(error)):
        sample(model, memory)
    assert torch.equal(sample(model), undisturbed)
    assert torch.equal(sample(model, memory), undisturbed)


def poisoned(q, k, v):
    """An attention kernel that overflows."""
    out = sdpa_attention(q, k, v)
    return torch.full_like(out, float("nan"))


def test_values_that_are_no_numbers_switch_to_exact_attention(monkeypatch, caplog):
    model = load()
    undisturbed = sample(model)
    monkeypatch.setitem(ATTENTION, "poisoned", lambda: poisoned)
    caplog.clear()
    fast = replace(model, recipe=replace(model.recipe, attention="poisoned"))
    assert torch.equal(sample(fast), undisturbed)
    assert fast.execution.attention is poisoned
    assert len(warnings(caplog)) == 1 and "with attention 'sdpa'" in warnings(caplog)[0]


def test_then_fp8_compute_is_switched_off(monkeypatch, caplog):
    model = load("fp8_compute")
    stored = load("fp8_scaled")
    assert stored.placed is model.placed
    exact = sample(stored)
    monkeypatch.setattr(
        layers, "fp8_linear", lambda x, parts, bias: x.new_full((*x.shape[:-1], len(parts["weight"])), float("inf"))
    )
    caplog.clear()
    assert torch.equal(sample(model), exact)
    assert len(warnings(caplog)) == 1 and "without fp8 compute" in warnings(caplog)[0]
    assert (model.execution.multiply, stored.execution.multiply) == ("fp8", "dense")


def test_values_that_stay_no_numbers_are_refused():
    model = load()
    handle = model.residence.module.blocks[0].register_forward_hook(lambda block, inputs, tokens: tokens * float("nan"))
    with pytest.raises(NumericalError, match="t2v.safetensors gave values that are NaN or infinite, with exact"):
        sample(model)
    handle.remove()


def test_the_first_block_is_looked_at_once(monkeypatch):
    looks = []
    look = stage.check_finite
    monkeypatch.setattr(stage, "check_finite", lambda tokens: looks.append(look(tokens)))
    sample(load())
    assert len(looks) == 1


def four_blocks() -> VideoModel:
    """As `load`, with enough blocks to swap."""
    tiny = load()
    config = replace(tiny.spec.config, layers=4)
    torch.manual_seed(4)
    module = WanDiT(config).eval().requires_grad_(False)
    residence = LocalResidence(module, torch.device("cpu"))
    spec, weights = replace(tiny.spec, config=config), bytes_of(module, tiny.dtype)
    placed = replace(tiny.placed, spec=spec, weights=weights, residence=residence)
    return VideoModel(placed, ParameterShapes.of(module), tiny.recipe)


@pytest.mark.parametrize(("flops_per_byte", "expected"), [(task.FLOPS_PER_BYTE, [2] * 3), (0, [1] * 6)])
def test_few_tokens_bring_swapped_weights_once_per_step(monkeypatch, flops_per_byte, expected):
    """Where copying takes longer than computing, both passes run block by block; else one after the other."""
    monkeypatch.setattr(task, "FLOPS_PER_BYTE", flops_per_byte)
    model, passes = four_blocks(), []
    undisturbed = sample(model)
    trunk = WanDiT.trunk
    monkeypatch.setattr(
        WanDiT, "trunk", lambda self, each, execution: [passes.append(len(each)), trunk(self, each, execution)][1]
    )
    assert torch.equal(sample(model, BlockSwap(4, 10**9)), undisturbed)
    assert passes == expected


def test_each_fall_swaps_a_quarter_more(caplog):
    model = four_blocks()
    undisturbed = sample(model)
    with fault(model, "embed", at_call=1), fault(model, "block 0", at_call=1):
        assert torch.equal(sample(model), undisturbed)
    assert [line.split(": ")[1][:6] for line in warnings(caplog)] == ["3 of 4", "4 of 4"]


def test_runs_in_a_row_do_not_grow():
    model = load()
    sizes = []
    for _ in range(10):
        sample(model, BlockSwap(2, 10**9))
        sizes.append(
            (model.residence.slabs.size_bytes, [value.data_ptr() for value in model.residence.module.parameters()])
        )
    assert all(size == sizes[0] for size in sizes)
