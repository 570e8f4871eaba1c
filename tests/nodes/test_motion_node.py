"""Wan Motion: 0 is absent; each method changes the video, by itself and together, and for both experts."""

from __future__ import annotations

import logging

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.sampling.guidance import WordsSlider

from .conftest import HIGH, LOW, call, encode, load, save_experts

pytestmark = pytest.mark.usefixtures("inference")

DEFAULTS = {"method": "time", "words_end": 0.5, "calm_words": "still", "lively_words": "fast"}
SAMPLER = {"seed": 7, "cfg": 3.0, "steps": 4, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def moved(model, amount: float, **changes):
    return call("Motion", model=model, amount=amount, **DEFAULTS | changes)


def sampled(model, prompts, frames: int = 3) -> torch.Tensor:
    sides = dict(zip(("positive", "negative"), prompts))
    return call("Sampler", model=model, latent={"samples": torch.zeros(1, 16, frames, 6, 8)}, **sides, **SAMPLER)[
        "samples"
    ]


@pytest.fixture
def model(tiny_host):
    return load("t2v.safetensors")


@pytest.fixture
def words(tiny_host):
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")
    return {"text_encoder": encoder, "prompt": "a red ball"}


@pytest.fixture
def prompts(tiny_host):
    return encode("text.safetensors")


def test_no_motion_asked_for_is_the_model_itself(model, words):
    for method in ("time", "words", "both"):
        assert moved(model, 0.0, method=method, **words) is model


def test_each_method_changes_the_video_and_both_do_so_together(model, prompts, words):
    plain = sampled(model, prompts)
    results = [sampled(moved(model, 0.5, method=method, **words), prompts) for method in ("time", "words", "both")]
    results.append(sampled(moved(model, -0.5), prompts))
    for number, result in enumerate(results):
        assert result.isfinite().all()
        assert all(not torch.equal(result, other) for other in (plain, *results[:number]))
    assert torch.equal(sampled(model, prompts), plain)


def test_time_is_scaled_by_powers_of_two_of_the_amount_and_adds_up(model):
    assert moved(model, 1.0).policies.places.scale == (2.0, 1.0, 1.0)
    assert moved(moved(model, 1.0), -1.0).policies.places.scale == (1.0, 1.0, 1.0)


def test_words_of_the_same_meaning_lead_nowhere(model, prompts, words):
    same = moved(model, 1.0, method="words", calm_words="fast", **words)
    torch.testing.assert_close(sampled(same, prompts), sampled(model, prompts), rtol=0, atol=1e-6)


def test_words_count_in_their_part_of_the_steps(model, words):
    guidance = moved(model, 1.0, method="words", **words).policies.guidance(3.0)
    assert isinstance(guidance, WordsSlider)
    assert guidance.part.end == 0.5 and guidance.strength == 1.0


def test_both_experts_move(models, tiny_host):
    save_experts(models)
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=0)
    both = moved(pair, 1.0)
    assert all(each.policies.places.scale[0] == 2.0 for each in (both, both.low_noise.model))


def test_times_beyond_what_the_model_was_trained_on_are_told(model, prompts, caplog):
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        sampled(moved(model, 1.0), prompts)
        assert not caplog.records
        sampled(moved(model, 1.0), prompts, frames=9)
    assert "ends at the time of latent frame 16.0" in caplog.text


def test_words_without_an_encoder_are_refused(model):
    with pytest.raises(InvalidInputError, match="needs a text encoder and the prompt, and no encoder"):
        moved(model, 0.5, method="words")
