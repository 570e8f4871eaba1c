"""An edit that is killed in any step, and run again: the same bits as undisturbed, from where it stood."""

from __future__ import annotations

import logging
import os
import signal

import pytest
import torch
from wan_director.dit.inputs import Conditioning
from wan_director.engine.editing.edit import run_edit
from wan_director.engine.editing.ready import EditTexts
from wan_director.engine.editing.settings import EditSettings
from wan_director.engine.models import with_low_noise
from wan_director.engine.resuming.kept import NO_RUNS_KEPT

from ..conftest import HIGH, LOW, save_experts
from .conftest import at_step, files, killed, load

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of this one")
SETTINGS = EditSettings(seed=3, steps=6, cfg=3.0, source_cfg=1.5, strength=0.7)
STEPS = 4
LATENT = torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(4))
MASK = torch.ones(1, 1, 3, 6, 8)


def texts(seed: int = 1) -> EditTexts:
    generator = torch.Generator().manual_seed(seed)
    return EditTexts(*(Conditioning(torch.randn(1, 512, 128, generator=generator)) for _ in range(3)))


def kill(model, step: int) -> None:
    def run() -> None:
        with at_step(model, step, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            run_edit(model, texts(), LATENT, MASK, SETTINGS)

    killed(run)


@pytest.mark.parametrize("kind", ["one model", "two experts"])
def test_an_edit_that_was_killed_goes_on_with_the_same_bits(kind, kept, caplog, models):
    caplog.set_level(logging.INFO, "wan_director")
    save_experts(models)
    model = load() if kind == "one model" else with_low_noise(load(HIGH), load(LOW), high_steps=2)
    model.runtime.kept_runs = NO_RUNS_KEPT
    expected = run_edit(model, texts(), LATENT, MASK, SETTINGS)
    model.runtime.kept_runs = kept
    for step in range(STEPS):
        kill(model, step)
        caplog.clear()
        assert torch.equal(run_edit(model, texts(), LATENT, MASK, SETTINGS), expected)
        where = f"Sampling goes on after step {step} of {STEPS}"
        assert any(where in line for line in caplog.messages) == (step > 0)
        assert files(kept) == []


@pytest.mark.parametrize("other", ["mask", "source"])
def test_another_edit_begins_anew(other, kept, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    model = load()
    kill(model, 2)
    wanted = texts()._replace(source=texts(2).source) if other == "source" else texts()
    mask = torch.cat([MASK[..., :4], 0 * MASK[..., 4:]], dim=-1) if other == "mask" else MASK
    run_edit(model, wanted, LATENT, mask, SETTINGS)
    assert not any("goes on after step" in line for line in caplog.messages)
