"""Wan Motion: 0 is absent; each method changes the video, by itself and together, and for both experts."""

from __future__ import annotations

import logging

import pytest
import torch
from wan_director.common.errors import InvalidInputError, WanDirectorError
from wan_director.nodes.conditioning.official_negative import OFFICIAL_NEGATIVE
from wan_director.sampling.guidance import WordsSlider

from .conftest import HIGH, LOW, call, encode, load, load_vae, picture, save_experts

pytestmark = pytest.mark.usefixtures("inference")

# Without the inputs that came later, as graphs saved before them.
DEFAULTS = {"method": "time", "words_end": 0.5, "calm_words": "still", "lively_words": "fast"}
SAMPLER = {"seed": 7, "cfg": 3.0, "steps": 4, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def moved(model, amount: float = 0.5, **changes):
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


@pytest.mark.parametrize("prompt", ["", " \n"])
@pytest.mark.parametrize("method", ["words", "both"])
def test_words_without_a_prompt_are_refused_where_they_would_count(prompt, method, model, words):
    empty = words | {"prompt": prompt}
    with pytest.raises(InvalidInputError, match="needs the prompt, and it is empty.* Write the positive prompt again"):
        moved(model, 0.5, method=method, **empty)
    assert moved(model, 0.0, method=method, **empty) is model
    assert moved(model, 0.5, method="time", **empty).policies.places.scale[0] == 2**0.5


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


def test_times_of_the_second_expert_alone_are_told_too(models, prompts, caplog):
    save_experts(models)
    pair = {"high_noise": load(HIGH), "low_noise": moved(load(LOW), 1.0), "low_noise_cfg": 0.0, "high_noise_steps": 1}
    sampled(call("Experts", **pair), prompts, frames=9)
    assert caplog.text.count("ends at the time of latent frame 16.0") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amount": 2000.0}, "from -1, calm, to 1, lively, got 2000"),
        ({"amount": float("nan")}, "from -1, calm, to 1"),
        ({"amount": "much"}, "amount must be a number"),
        ({"words_end": None}, "words_end must be a number, got nothing"),
        ({"calm_words": 5}, "calm_words must be a text, got a number"),
        ({"prompt": None}, "prompt must be a text, got nothing"),
        ({"amount": 0.0, "motion_bucket": "x"}, "motion_bucket must be a number, got a text"),
        ({"amount": 0.0, "low_pass_end": "x"}, "low_pass_end must be a number"),
        ({"amount": 0.5, "method": "x"}, "method is one of time, words, both, got 'x'"),
        ({"amount": 0.0, "method": "x"}, "method is one of"),
        ({"amount": 0.0, "amplify": 3.0}, "amplified 1"),
        ({"amount": 0.0, "low_pass": 0.0}, "takes no start image"),
        ({"amount": 0.0, "amplify": 1.15}, "takes no start image in channels of its own, which amplify changes"),
        ({"amount": 0.0, "motion_bucket": 101}, "from 0, calm, to 100"),
        ({"amount": 0.0, "motion_bucket": 50}, "has no speed control .* or choose a speed-control module"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(model, words, changes):
    with pytest.raises(WanDirectorError, match=words):
        moved(model, **changes)


def test_the_start_image_is_changed_and_all_off_is_the_model_itself(tiny_host, prompts):
    model, vae = load("wan21_i2v.safetensors"), load_vae("wan21_vae.safetensors")
    text = encode("wan21_text.safetensors")
    positive, negative, latent = call(
        "ImageToVideo", positive=text[0], negative=text[1], vae=vae, width=64, height=48, frames=9, batch_size=1,
        fit="crop", start_image=picture(),
    )  # fmt: skip

    def sampled_with(**changes):
        changed = moved(model, 0.0, **changes)
        return call("Sampler", model=changed, positive=positive, negative=negative, latent=latent, **SAMPLER)["samples"]

    off = {"low_pass": 1.0, "low_pass_end": 0.2, "amplify": 1.0, "motion_bucket": -1}
    assert moved(model, 0.0, **off) is model
    plain = sampled_with()
    assert not torch.equal(sampled_with(low_pass=0.4), plain) and not torch.equal(sampled_with(amplify=1.5), plain)


def test_a_module_in_the_loader_is_followed(tiny_host, model, prompts, caplog):
    with_module = load("t2v.safetensors", speed_module="speed_module.safetensors")
    assert "with a speed control module" in with_module.spec.title and with_module is not model
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        free = sampled(with_module, prompts)
    assert "no motion bucket is set" in caplog.text
    assert torch.equal(free, sampled(model, prompts))
    slow, fast = (sampled(moved(with_module, 0.0, motion_bucket=bucket), prompts) for bucket in (0, 100))
    assert not torch.equal(slow, free) and not torch.equal(slow, fast)
    with pytest.raises(InvalidInputError, match="both set a motion bucket"):
        moved(moved(with_module, 0.0, motion_bucket=1), 0.0, motion_bucket=2)
    both = load("t2v.safetensors", vace_module="vace_module.safetensors", speed_module="speed_module.safetensors")
    assert len(both.spec.config.branches) == 2


def test_a_module_of_another_width_is_refused(tiny_host):
    with pytest.raises(WanDirectorError, match="is speed control for a .* model of width 48, but wan21_t2v"):
        load("wan21_t2v.safetensors", speed_module="speed_module.safetensors")


def told(model, prompts, caplog, **changes) -> str:
    caplog.clear()
    sides = dict(zip(("positive", "negative"), prompts))
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        call("Sampler", model=model, latent={"samples": torch.zeros(1, 16, 1, 6, 8)}, **sides, **SAMPLER | changes)
    return caplog.text


def test_a_negative_prompt_without_effect_is_told_once(model, prompts, words, caplog):
    assert told(model, prompts, caplog, cfg=1.0).count("The negative prompt has no effect") == 1
    empty, usual = (
        call("TextEncode", text_encoder=words["text_encoder"], positive="a", negative=text)[1]
        for text in ("", f"shaking, {OFFICIAL_NEGATIVE}")
    )
    zeroed = [[torch.zeros_like(prompts[1][0][0]), prompts[1][0][1]]]
    for negative in (empty, usual, zeroed, prompts[0]):
        assert "negative prompt" not in told(model, (prompts[0], negative), caplog, cfg=1.0)
    assert "negative prompt" not in told(model, prompts, caplog)


def test_a_part_that_holds_no_step_is_told(model, prompts, words, caplog):
    led = call(
        "Guidance", model=model, formula="cfg", cfg_course="", cfg_start=0.3, cfg_end=0.4, zero_steps=0,
        apg_parallel=0.0, apg_longest=0.0, skip_blocks="1", skip_scale=3.0, skip_start=0.0, skip_end=0.5,
        nag_scale=1.0, nag_alpha=0.25, nag_tau=2.5, nag_end=1.0,
    )  # fmt: skip
    text = told(led, prompts, caplog)
    assert "Guidance by the negative prompt does nothing in this run: none of the 4 steps" in text
    assert "Skip-layer" not in text


def test_words_without_an_encoder_are_refused(model):
    with pytest.raises(InvalidInputError, match="needs a text encoder and the prompt, and no encoder"):
        moved(model, 0.5, method="words")


def test_a_text_encoder_of_another_model_is_refused_by_the_node(model, words):
    other = call("LoadTextEncoder", text_encoder_name="wan21_text.safetensors", precision="auto", device="auto")
    with pytest.raises(WanDirectorError, match="wan21_text.safetensors"):
        moved(model, 0.5, method="words", text_encoder=other, prompt="a red ball")


def test_words_of_a_native_encoder_are_filled_up_as_prompts_are(model, words):
    """Rows of zeros behind the last token take part in the attention, so leaving them out changes the video."""

    class Native:
        def tokenize(self, text):
            return words["text_encoder"].tokenize(text)

        def encode_from_tokens_scheduled(self, tokens):
            return [[words["text_encoder"].encode_from_tokens(tokens)[:, :20], {}]]

    guidance = moved(model, 0.5, method="words", text_encoder=Native(), prompt="a red ball").policies.guidance(3.0)
    assert guidance.more.text.shape == (1, 512, 128)
    with pytest.raises(WanDirectorError, match="has the width 4096, but"):
        moved(load("t2v.safetensors"), 0.5, method="words", text_encoder=Wide(), prompt="a red ball")


class Wide:
    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.zeros(1, 512, 4096), {}]]
