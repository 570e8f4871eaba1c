"""Stored matrices that are kept as plain numbers: the same bits, within the memory that is left, gone after the run."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.engine.memory import MemorySettings, tell
from wan_director.engine.sampling.task import with_plain_matrices
from wan_director.engine.tasks import bytes_of
from wan_director.memory.budget import Budget, Card
from wan_director.memory.plan import Task, Way, keep_plain, plan, swap_exactly
from wan_director.memory.policy import RESIDENT, BlockSwap, Resident
from wan_director.memory.slabs import Slabs
from wan_director.weights import layers
from wan_director.weights.casting import CASTINGS, cast_matrix, is_cast

CPU = torch.device("cpu")
CARD = Card("a card", 25e12, 12e9)
CONFIG = DiTConfig(dim=48, ffn_dim=64, heads=2, layers=4, text_dim=32, freq_dim=16)
QUANTISED = Task("sample", 10, (100,) * 4, (Way(1, 50),), 1e12, plain_bytes=(200, 200, 200, 300))


def quantised_model() -> WanDiT:
    torch.manual_seed(0)
    model = WanDiT(CONFIG, layers).to(torch.bfloat16).eval().requires_grad_(False)
    for name, layer in model.named_modules():
        if isinstance(layer, layers.Linear) and is_cast(f"{name}.weight"):
            layer.store(cast_matrix(layer.weight, CASTINGS["fp8_scaled"]))
    return model


def kept(model: nn.Module) -> list[bool]:
    """Whether the matrices of each block are kept."""
    return [block.ffn[0].kept is not None for block in model.blocks]


@torch.inference_mode()
def test_results_equal_those_of_matrices_made_for_every_use_to_the_bit():
    model = quantised_model()
    inputs = DitInputs(
        torch.randn(1, 16, 2, 4, 6), torch.tensor([500.0]), torch.randn(1, 7, CONFIG.text_dim, dtype=torch.bfloat16)
    )
    expected = model(inputs)
    for plain in range(CONFIG.layers + 1):
        with Resident(plain, 0).streaming(model.streamed_blocks, CPU, Slabs()) as stream:
            assert kept(model) == [number < plain for number in range(CONFIG.layers)]
            for _ in range(2):
                assert torch.equal(model(inputs, Execution(stream=stream)), expected)
        assert not any(kept(model))


@torch.inference_mode()
def test_a_matrix_is_made_once_while_it_is_kept():
    model = quantised_model()
    layer, x = model.blocks[0].ffn[0], torch.randn(3, CONFIG.dim, dtype=torch.bfloat16)
    with Resident(1, 0).streaming(model.streamed_blocks, CPU, Slabs()):
        layer(x)
        numbers = layer.kept.of(layer.stored(), torch.bfloat16)
        layer(x)
        assert layer.kept.of(layer.stored(), torch.bfloat16) is numbers
        assert layer.kept.of(layer.stored(), torch.float32).dtype == torch.float32  # another precision is made anew


def test_a_failed_run_keeps_nothing():
    model = quantised_model()
    with pytest.raises(RuntimeError), Resident(4, 0).streaming(model.streamed_blocks, CPU, Slabs()):
        raise RuntimeError
    assert not any(kept(model))


@pytest.mark.parametrize(("limit", "plain"), [(459, 0), (460, 0), (659, 0), (660, 1), (1059, 2), (1359, 3), (1360, 4)])
def test_what_is_left_is_filled_and_never_more(limit, plain):
    choice = keep_plain(swap_exactly(QUANTISED, 0, CARD, pinned_bytes=0), limit)
    assert choice.plain == plain
    assert choice.device_bytes == 460 + sum(QUANTISED.plain_bytes[:plain])
    assert choice.device_bytes <= max(limit, 460)


def test_nothing_is_kept_beside_swapped_blocks_or_of_plain_weights():
    swapped = plan(QUANTISED, 430, CARD, pinned_bytes=0)
    assert swapped.swapped and keep_plain(swapped, 10**6) == swapped
    unquantised = swap_exactly(Task("sample", 10, (100,) * 4, (Way(1, 50),)), 0, CARD, pinned_bytes=0)
    assert keep_plain(unquantised, 10**6) == unquantised


def test_without_memory_they_are_the_first_to_go():
    assert Resident(3, 600).lowered(4) == RESIDENT
    assert RESIDENT.lowered(4) == BlockSwap(3)
    assert Resident(3, 600).footprint((100,) * 4, CPU).device_bytes == 1000


class Machine:
    """A device with so much free memory."""

    def __init__(self, free: int | None) -> None:
        self.free = free

    def available_bytes(self, device: torch.device) -> int | None:
        return self.free


@pytest.mark.parametrize(
    ("budget", "plain"), [(Budget("leave free", 0), 3), (Budget("leave free", 200), 2), (Budget("use at most", 700), 1)]
)
def test_a_budget_is_kept_on_a_card_and_on_the_cpu(budget, plain, monkeypatch, caplog):
    settings = MemorySettings(budget)
    on_card = settings.choose(QUANTISED, torch.device("cuda"), lambda limit: (), Machine(1100))
    monkeypatch.setattr("wan_director.engine.memory.free_ram_bytes", lambda: 1100)
    on_cpu = settings.choose(QUANTISED, CPU, lambda limit: (), Machine(None))
    assert on_card.plain == on_cpu.plain == plain
    assert settings.policy(on_cpu) == Resident(plain, sum(QUANTISED.plain_bytes[:plain]))
    with caplog.at_level(logging.INFO, "wan_director"):
        tell(on_cpu)
    assert f"{plain} of 4 blocks are made plain once and kept" in caplog.text


def test_nothing_is_kept_where_nobody_knows_the_free_memory(monkeypatch):
    monkeypatch.setattr("wan_director.engine.memory.free_ram_bytes", lambda: None)
    for device in (CPU, torch.device("mps")):
        assert MemorySettings().choose(QUANTISED, device, lambda limit: (), Machine(None)).plain == 0


@torch.inference_mode()
def test_the_plan_counts_what_is_kept():
    model = quantised_model()
    weights = bytes_of(model, torch.bfloat16)
    task = with_plain_matrices(Task("sample", weights.fixed, weights.blocks, (Way(1, 0),)), weights, CONFIG)
    with Resident(4, 0).streaming(model.streamed_blocks, CPU, Slabs()):
        numbers = [
            [layer.kept.of(layer.stored(), torch.bfloat16) for layer in block.modules() if is_stored(layer)]
            for block in model.blocks
        ]
    for told, kept_numbers in zip(task.plain_bytes, numbers, strict=True):
        assert 1 <= told / sum(tensor.nbytes for tensor in kept_numbers) < 1.1  # with norms and biases
    plain = WanDiT(CONFIG).to(torch.bfloat16)
    assert not with_plain_matrices(Task("sample", 0, (), ()), bytes_of(plain, torch.bfloat16), CONFIG).plain_bytes


def is_stored(layer: nn.Module) -> bool:
    return isinstance(layer, layers.Linear) and layer.is_stored
