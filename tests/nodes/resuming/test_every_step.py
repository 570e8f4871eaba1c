"""Killed in any step with any solver, and run again: the same bits as undisturbed, from where the run stood."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace

import pytest
import torch
from wan_director.dit.attention import ATTENTION, sdpa_attention
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.conditioning.characters.pose import PoseVideo
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.inputs import Conditioning
from wan_director.engine.models import with_low_noise, with_policies
from wan_director.engine.poses.keeping import PoseKeeping
from wan_director.engine.sampling import stage
from wan_director.sampling.cache.settings import StepCacheSettings
from wan_director.sampling.given import GivenFrames
from wan_director.sampling.guidance.parts import WHOLE_RUN
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.windows import SlidingWindows

from ..conftest import HIGH, LOW, TINY, dit, save_experts, save_model
from .conftest import SETTINGS, files, kill_in_step, load, sample, sides, stop_in_step, undisturbed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of this one")
LATENT = torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(4))


def goes_on(caplog) -> list[str]:
    return [line for line in caplog.messages if "goes on after step" in line]


def check_every_step(model, settings, kept, caplog, **inputs) -> None:
    caplog.set_level(logging.INFO, "wan_director")
    expected = undisturbed(model, settings, **inputs)
    for step in range(settings.steps):
        kill_in_step(model, step, settings, **inputs)
        caplog.clear()
        assert torch.equal(sample(model, settings, **inputs), expected)
        where = [f"Sampling goes on after step {step} of {settings.steps}, where an earlier run of it was broken off."]
        assert goes_on(caplog) == (where if step else [])
        assert files(kept) == []


@pytest.mark.parametrize("solver", SOLVERS)
def test_killed_in_any_step_with_any_solver(solver, kept, caplog):
    check_every_step(load(), replace(SETTINGS, solver=solver), kept, caplog)


def test_what_is_given_stays(kept, caplog):
    given = GivenFrames(LATENT, torch.tensor([True, False, False]))
    check_every_step(load(), SETTINGS, kept, caplog, given=given, noise=LATENT.flip(0, 3))


def cached(model):
    """The model with a step cache that spares as many steps as it may."""
    settings = StepCacheSettings("magcache", 9.0, WHOLE_RUN, most_in_a_row=2)
    cache = settings.of(model.spec.config, "the model", ratios=(1.0, 0.9, 0.8, 0.7))
    return with_policies(model, lambda policies: replace(policies, cache=cache))


def animated_prompts() -> tuple[Conditioning, Conditioning]:
    """Both sides of a run that shows poses in all but the last steps; the negative one leaves block 1 out."""
    poses, mask = LATENT[:, :, :2], torch.zeros(1, 4, 3, 6, 8)
    pose = PoseVideo(poses, torch.ones(1, 512, 128), torch.ones(1, 17, 64), 0.8, 1.2, -1.3)
    given = KeyframeImages(LATENT.flip(2), mask)
    return tuple(
        replace(side, items=(given, replace(pose, left_out=frozenset(out))), references=1)
        for side, out in zip(sides(), ((), (1,)))
    )


@pytest.mark.parametrize("in_8_bit", [False, True])
def test_what_is_kept_of_poses_is_made_again(in_8_bit, kept, caplog, models):
    said = {"config": json.dumps({"transformer": {"model_type": "animate2"}})}
    network = dit(in_channels=36, layers=4, branches=(ClipBranch(64),))
    save_model(models / "diffusion_models" / "resumed_animate2.safetensors", network, TINY | said)
    keeping = PoseKeeping(in_8_bit=in_8_bit)
    model = with_policies(load("resumed_animate2.safetensors"), lambda policies: replace(policies, poses=keeping))
    check_every_step(model, SETTINGS, kept, caplog, prompts=animated_prompts())


def test_windows_and_a_cache(kept, caplog):
    model = with_policies(load(), lambda policies: replace(policies, windows=SlidingWindows(2, 1)))
    settings = replace(SETTINGS, solver="dpmpp_2m_sde", steps=10)
    assert not torch.equal(undisturbed(cached(model), settings), undisturbed(model, settings))
    check_every_step(cached(model), settings, kept, caplog)


def test_two_experts_and_the_first_is_not_loaded_for_the_steps_of_the_second(kept, caplog, models):
    save_experts(models)
    pair = with_low_noise(load(HIGH), load(LOW), cfg=2.0, high_steps=2)
    check_every_step(pair, SETTINGS, kept, caplog)
    kill_in_step(pair, 3)
    loaded, high = [], pair.residence.module.blocks[0].register_forward_hook(lambda *_call: loaded.append(1))
    caplog.clear()
    sample(pair)
    high.remove()
    assert not loaded and [line for line in caplog.messages if "works from step" in line] == [
        f"{LOW}, the low-noise expert, works from step 4 on."
    ]


def test_an_interrupt_keeps_the_last_step_even_where_it_is_not_yet_time_to_save(kept, tiny_host, caplog):
    """Nothing is written while the run goes on, and one file where it ends."""
    caplog.set_level(logging.INFO, "wan_director")
    model, settings = load(), replace(SETTINGS, solver="dpmpp_2s_ancestral")
    expected = undisturbed(model, settings)
    slow = tiny_host.runtime.kept_runs = replace(kept, every_s=20.0)
    passes = []

    def stop(*_call):
        passes.append(len(files(slow)))
        if len(passes) == 2 * 2 * 2 + 1:  # two guesses of two sides in each step
            raise RuntimeError("stopped")

    hook = model.residence.module.head.register_forward_hook(stop)
    with pytest.raises(RuntimeError, match="stopped"):
        sample(model, settings)
    hook.remove()
    assert passes == [0] * 9 and len(files(slow)) == 1
    assert torch.equal(sample(model, settings), expected)
    assert goes_on(caplog) == ["Sampling goes on after step 2 of 4, where an earlier run of it was broken off."]


def test_a_run_that_had_to_compute_more_exactly_goes_on_so(kept, monkeypatch, caplog):
    """An attention kernel that overflows at high noise alone: after it, the fast one would give other bits."""
    caplog.set_level(logging.INFO, "wan_director")
    calls = []

    def overflows(q, k, v):
        calls.append(1)
        out = sdpa_attention(q, k, v) * 1.5
        return torch.full_like(out, float("nan")) if len(calls) == 1 else out

    monkeypatch.setitem(ATTENTION, "overflows", lambda: overflows)
    model = replace(load(), recipe=replace(load().recipe, attention="overflows"))
    expected = undisturbed(model)
    calls.clear()
    stop_in_step(model, 2)
    asked = len(calls)
    assert torch.equal(sample(model), expected)
    assert len(calls) == asked and "As before, this run goes on with attention 'sdpa'." in caplog.messages


def test_memory_that_runs_out_after_the_stop_changes_nothing(kept, monkeypatch):
    model = load()
    expected = undisturbed(model)
    stop_in_step(model, 2)
    attach, attempts = stage.adapted, []

    def failing(*arguments):
        attempts.append(1)
        if len(attempts) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return attach(*arguments)

    monkeypatch.setattr(stage, "adapted", failing)
    assert torch.equal(sample(model), expected) and len(attempts) == 2


def test_a_run_that_ended_starts_anew(kept, caplog):
    caplog.set_level(logging.INFO, "wan_director")
    model = load()
    assert torch.equal(sample(model), sample(model))
    assert goes_on(caplog) == [] and files(kept) == []
