"""A run that several devices share when one of them runs out of memory: all take less, and the step is asked again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import torch
from wan_director.common.errors import GivenUp, OutOfMemory
from wan_director.dit.execution import Execution, Lean
from wan_director.engine.local import LocalRuntime
from wan_director.engine.models import VideoModel, load_model
from wan_director.engine.recipe import ModelRecipe
from wan_director.nodes.hosts.host import host

from .test_soft_falls import sample


class Others:
    """Stands for a second device, which has the same answers and no memory at some of the passes.

    Args:
        failing: these numbers of the calls.
        can_swap: whether it has blocks left to swap.
    """

    devices, is_first = 2, True

    def __init__(self, failing: Sequence[int], *, can_swap: bool) -> None:
        self.failing, self.can_swap = failing, can_swap
        self.calls = self.told = 0
        self.leans: list[Lean | None] = []

    def trunk(self, trunk, passes, execution: Execution):
        self.calls += 1
        self.leans.append(execution.lean)
        if self.calls in self.failing:
            raise GivenUp(is_memory=True)
        return trunk(passes, execution)

    def agree(self) -> None:
        pass

    def give_up(self) -> None:
        self.told += 1

    def is_same(self, own: int) -> bool:
        return True

    def any_of(self, own: bool) -> bool:
        return own or self.can_swap


def load(sharing: Others | None = None) -> VideoModel:
    runtime = LocalRuntime("cpu") if sharing is None else LocalRuntime("cpu", sharing=sharing)
    path = host().find_model("diffusion_models", "t2v.safetensors")
    return load_model(ModelRecipe(path, precision="fp32"), runtime)


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-5 * other.abs().max())


def test_blocks_are_swapped_because_another_device_has_no_memory(tiny_host, caplog):
    others = Others([2], can_swap=True)
    assert near(sample(load(others)), sample(load()))
    assert others.calls == 4 and others.told == 0 and others.leans == [None] * 4
    assert "Out of memory in step 2: 2 of 2 blocks are swapped in from RAM from now on" in caplog.text


def test_blocks_keep_less_only_when_no_device_can_swap_more(tiny_host, caplog):
    caplog.set_level(logging.WARNING)
    others = Others([2, 3, 4], can_swap=False)
    assert near(sample(load(others)), sample(load()))
    assert [lean is not None for lean in others.leans] == [False, False, False, True, True, True]
    others = Others([2, 3], can_swap=True)
    assert near(sample(load(others)), sample(load()))
    assert others.leans == [None] * 5 and "other devices take less from now on" in caplog.text


def test_the_others_are_told_of_what_happens_here(tiny_host):
    others = Others([], can_swap=True)
    model, expected = load(others), sample(load())
    calls = []

    def fail_once(*_call):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = model.residence.module.head.register_forward_hook(fail_once)
    try:
        assert near(sample(model), expected)
    finally:
        handle.remove()
    assert others.told == 1


def test_the_end_of_all_ways_is_said(tiny_host):
    with pytest.raises(OutOfMemory, match="does not fit on cpu, even with every block swapped"):
        sample(load(Others(range(1, 99), can_swap=False)))
