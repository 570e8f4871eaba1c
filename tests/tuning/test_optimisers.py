"""The optimiser of 8 bits: refused before anything is loaded where its package is missing, used where it is there."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from wan_director.common.errors import MissingPackageError
from wan_director.engine.local import LocalRuntime
from wan_director.tuning import learner
from wan_director.tuning.beginning import prepare
from wan_director.tuning.settings import read_settings

from .test_training_run import ready, settings_in

EIGHT_BITS = '[optimiser]\nkind = "adamw8bit"\nlearning_rate = 1e-3\nwarm_up = 0\n'


class AdamW8bit(torch.optim.Optimizer):
    """A stand-in that keeps what bitsandbytes' own keeps: bytes, their tables, and the number of steps as an int.

    Each step moves every number by the sign of its gradient and by what the state of the step before was.
    """

    def __init__(self, parameters, lr=1e-3, weight_decay=1e-2) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for value in group["params"]:
                state = self.state[value]
                if not state:
                    state |= {"step": 0, "state1": torch.zeros(value.shape, dtype=torch.uint8), "qmap1": torch.zeros(4)}
                state["step"] += 1
                state["state1"] = (state["state1"] + (value.grad > 0) + state["step"]).to(torch.uint8)
                state["qmap1"] += float(value.grad.abs().mean())
                value.add_(value.grad.sign() * (1 + 0.01 * state["state1"]), alpha=-group["lr"])


@pytest.fixture
def bitsandbytes(monkeypatch) -> None:
    module = ModuleType("bitsandbytes")
    module.__spec__ = ModuleSpec("bitsandbytes", None)
    module.optim = SimpleNamespace(AdamW8bit=AdamW8bit)
    monkeypatch.setitem(sys.modules, "bitsandbytes", module)


def test_without_its_package_it_is_refused_before_anything_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(learner, "find_spec", lambda name: None if name == "bitsandbytes" else pytest.fail(name))
    settings = read_settings(settings_in(tmp_path, more=EIGHT_BITS))
    with pytest.raises(MissingPackageError, match="bitsandbytes is not installed, which the optimiser adamw8bit needs"):
        prepare(settings, LocalRuntime("cpu"), lambda *_: pytest.fail("nothing is looked for"))


def test_with_its_package_it_learns_and_goes_on_to_the_bit(tmp_path, bitsandbytes):
    whole = ready(settings_in(tmp_path / "a", more=EIGHT_BITS))
    losses = [step.loss for step in whole.run()]
    path = settings_in(tmp_path / "b", more=EIGHT_BITS)
    for _ in zip(range(4), ready(path).run()):
        pass
    assert [step.loss for step in ready(path).run()] == losses[4:]
    assert (tmp_path / "b/out/mine.safetensors").read_bytes() == whole.target.read_bytes()
    plain = ready(settings_in(tmp_path / "c", more=EIGHT_BITS.replace("adamw8bit", "adamw")))
    list(plain.run())
    assert plain.target.read_bytes() != whole.target.read_bytes()
