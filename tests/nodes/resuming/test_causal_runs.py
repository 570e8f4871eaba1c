"""A causal run that was killed in any step of any chunk, and run again: the same bits, from where it stood."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import pytest
import torch
from wan_director.engine.models import with_policies
from wan_director.sampling.causal.order import ChunkByChunk
from wan_director.sampling.given import GivenFrames

from .conftest import SETTINGS, files, kill_in_step, load, sample, undisturbed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of this one")
STEPS = 2
FEW = replace(SETTINGS, steps=STEPS, solver="lcm")
LATENT = torch.randn(1, 16, 4, 6, 8, generator=torch.Generator().manual_seed(4))
GIVEN = GivenFrames(LATENT, torch.tensor([True, False, False, False]))


def causal(**order):
    return with_policies(load(), lambda policies: replace(policies, order=ChunkByChunk(**order)))


@pytest.mark.parametrize("given", [False, True])
def test_killed_in_any_step_of_any_chunk(given, kept, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    model = causal(window_frames=3, sink_frames=1)
    inputs = {"latent": LATENT, "given": GIVEN} if given else {"latent": LATENT}
    expected, chunks = undisturbed(model, FEW, **inputs), 3 if given else 4
    for step in range(STEPS * chunks):
        kill_in_step(model, step, FEW, **inputs)
        caplog.clear()
        assert torch.equal(sample(model, FEW, **inputs), expected)
        where = f"Sampling goes on after step {step} of {STEPS * chunks}, where an earlier run of it was broken off."
        assert [line for line in caplog.messages if "goes on after" in line] == ([where] if step else [])
        assert files(kept) == []


def test_a_run_in_another_order_begins_anew(kept, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    kill_in_step(causal(), 3, FEW, latent=LATENT)
    sample(causal(chunk_frames=2), FEW, latent=LATENT)
    assert not [line for line in caplog.messages if "goes on after" in line]
