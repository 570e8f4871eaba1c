"""Runs of InfiniteTalk and Wan-Dancer that were killed in any step, and run again: the same bits."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import pytest
import torch
from wan_director.dit.conditioning.audio.dance import DancedMusic
from wan_director.dit.conditioning.audio.talk import TalkScene
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.inputs import Conditioning
from wan_director.nodes.hosts.host import host
from wan_director.sampling.given import ShownFrames

from .conftest import SETTINGS, files, kill_in_step, load, sample, undisturbed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of this one")
RANDOM = torch.Generator().manual_seed(6)
FRAMES = 3


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=RANDOM)


LATENT, TEXTS = random(1, 16, FRAMES, 6, 8), random(2, 512, 4096)
GIVEN = KeyframeImages(LATENT.flip(3), torch.ones(1, 4, FRAMES, 6, 8))
SAID = random(2, 1, 1, FRAMES, 8, 12, 8)
MUSIC, DANCERS = random(2, 1, 16, 35), random(1, 17, 1280)


def prompts(*items) -> tuple[Conditioning, Conditioning]:
    positive, negative = (Conditioning(text[None], (GIVEN, *items)) for text in TEXTS)
    return positive, negative


def goes_on(caplog) -> list[str]:
    return [line for line in caplog.messages if "goes on after step" in line]


def check_every_step(model, kept, caplog, others, **inputs) -> None:
    """A run that is killed goes on, and a run of `others` does not go on from it."""
    caplog.set_level(logging.INFO, "wan_director")
    expected = undisturbed(model, **inputs)
    assert not torch.equal(undisturbed(model, **{**inputs, **others}), expected)
    for step in range(SETTINGS.steps):
        kill_in_step(model, step, **inputs)
        caplog.clear()
        assert torch.equal(sample(model, **inputs), expected)
        where = f"Sampling goes on after step {step} of {SETTINGS.steps}, where an earlier run of it was broken off."
        assert goes_on(caplog) == ([where] if step else [])
        assert files(kept) == []
    kill_in_step(model, 2, **inputs)
    caplog.clear()
    sample(model, **{**inputs, **others})
    assert goes_on(caplog) == []


@pytest.mark.parametrize("is_kept", [False, True], ids=["first chunk", "next chunk"])
def test_infinitetalk_killed_in_any_step(is_kept, kept, caplog):
    shown = LATENT[:, :, :1]
    scene = TalkScene(SAID[0], shown=shown, is_kept=is_kept)
    model = load(
        "wan21_i2v.safetensors", infinitetalk_module=host().find_model("model_patches", "infinitetalk.safetensors")
    )
    louder = {"prompts": prompts(replace(scene, features=SAID[1]))}
    inputs = {"prompts": prompts(scene), "given": ShownFrames(shown, is_kept), "latent": torch.zeros_like(LATENT)}
    check_every_step(model, kept, caplog, louder, **inputs)


@pytest.mark.parametrize("fps", [30.0, 7.5], ids=["dance", "plan"])
def test_wan_dancer_killed_in_any_step(fps, kept, caplog):
    music = DancedMusic(MUSIC[0], fps, FRAMES, 0, FRAMES, picture=DANCERS)
    inputs = {"prompts": prompts(music), "latent": torch.zeros_like(LATENT)}
    check_every_step(
        load("dancer.safetensors"), kept, caplog, {"prompts": prompts(replace(music, music=MUSIC[1]))}, **inputs
    )
