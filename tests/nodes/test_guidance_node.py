"""Wan Guidance: off is absent to the bit; each part changes the video, is planned, and works with both experts."""

from __future__ import annotations

import shutil

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.sampling.guidance import CFG, AttentionGuidance, CfgZeroStar, ScaleOverRun, SkipLayers
from wan_director.sampling.step import NoiseLevel

from .conftest import HIGH, LOW, call, encode, load, save_experts

pytestmark = pytest.mark.usefixtures("inference")

DEFAULTS = {
    "formula": "cfg", "cfg_course": "", "cfg_start": 0.0, "cfg_end": 1.0, "zero_steps": 0, "apg_parallel": 0.0,
    "apg_longest": 0.0, "skip_blocks": "", "skip_scale": 3.0, "skip_start": 0.0, "skip_end": 0.5, "nag_scale": 1.0,
    "nag_alpha": 0.25, "nag_tau": 2.5, "nag_end": 1.0,
}  # fmt: skip
SAMPLER = {"seed": 7, "steps": 4, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
PARTS = {
    "zero star": {"formula": "cfg_zero_star"},
    "zero steps": {"formula": "cfg_zero_star", "zero_steps": 1},
    "projected": {"formula": "apg"},
    "tangential": {"formula": "tcfg"},
    "a course": {"cfg_course": "6, 1"},
    "an interval": {"cfg_end": 0.5},
    "skipped layers": {"skip_blocks": "1"},
    "attention": {"nag_scale": 11.0},
}


def guided(model, **changes):
    return call("Guidance", model=model, **DEFAULTS | changes)


def sampled(model, prompts, cfg: float = 3.0) -> torch.Tensor:
    sides = dict(zip(("positive", "negative"), prompts))
    latent = {"samples": torch.zeros(1, 16, 3, 6, 8)}
    return call("Sampler", model=model, latent=latent, cfg=cfg, **sides, **SAMPLER)["samples"]


@pytest.fixture
def model(tiny_host):
    return load("t2v.safetensors")


@pytest.fixture
def prompts(tiny_host):
    return encode("text.safetensors")


def test_as_it_comes_the_node_changes_nothing(model, prompts):
    plain = guided(model)
    assert plain.policies.guidance(3.0) == CFG(3.0)
    assert torch.equal(sampled(plain, prompts), sampled(model, prompts))


@pytest.mark.parametrize("part", PARTS)
def test_each_part_changes_the_video_and_nothing_else_of_the_model(model, prompts, part):
    before = sampled(model, prompts)
    other = sampled(guided(model, **PARTS[part]), prompts)
    assert other.isfinite().all() and not torch.equal(other, before)
    assert torch.equal(sampled(model, prompts), before)


def test_the_negative_prompt_counts_at_cfg_1_by_attention_guidance(model, prompts):
    swapped = (prompts[0], prompts[0])
    for changes, counts in (({}, False), ({"nag_scale": 11.0}, True), ({"nag_scale": 11.0, "nag_alpha": 0.0}, False)):
        led = guided(model, **changes)
        assert torch.equal(sampled(led, prompts, 1.0), sampled(led, swapped, 1.0)) is not counts
    same = guided(model, nag_scale=11.0)
    torch.testing.assert_close(sampled(same, swapped, 1.0), sampled(model, swapped, 1.0), rtol=0, atol=1e-5)


def test_both_experts_are_guided(models, tiny_host):
    save_experts(models)
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=0)
    both = guided(pair, skip_blocks="1")
    assert all(isinstance(each.policies.guidance(3.0), SkipLayers) for each in (both, both.low_noise.model))


def test_parts_are_put_together(model):
    whole = guided(model, formula="cfg_zero_star", cfg_end=0.5, skip_blocks="0", nag_scale=5.0).policies.guidance(4.0)
    assert isinstance(whole, AttentionGuidance) and isinstance(whole.guided, SkipLayers)
    assert isinstance(whole.guided.guided, ScaleOverRun) and whole.guided.guided.guidance(4.0) == CfgZeroStar(4.0)
    chained = guided(guided(model, formula="apg"), nag_scale=5.0).policies.guidance(4.0)
    assert chained.guided.scale == 4.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"skip_blocks": "7"}, "leave out block 7, but the model has blocks 0 to 1"),
        ({"skip_blocks": "0-1"}, "leave out all blocks"),
        ({"skip_blocks": "nine"}, "numbers such as"),
        ({"skip_blocks": "1", "skip_start": 0.5}, "from 0.5 to 0.5 holds none"),
        ({"cfg_course": "6;5"}, "one number a step"),
        ({"cfg_start": 1.0}, "from 1 to 1 holds none"),
        ({"cfg_start": None}, "cfg_start must be a number, got nothing"),
        ({"cfg_course": 5}, "cfg_course must be a text, got a number"),
        ({"skip_blocks": None}, "skip_blocks must be a text, got nothing"),
        ({"skip_blocks": "1", "skip_scale": float("nan")}, "scale of skip-layer guidance must be a finite number"),
        ({"formula": "apg", "apg_parallel": float("nan")}, "must be a finite number, got nan"),
        ({"formula": "apg", "apg_parallel": "x"}, "apg_parallel must be a number, got a text"),
        ({"formula": "apg", "apg_momentum": 1.0}, "momentum of apg must be above -1 and below 1"),
        ({"nag_scale": float("inf")}, "takes a scale of 1 .off. or more.* got inf"),
        ({"zero_steps": "x"}, "zero_steps must be a number"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(model, changes, words):
    with pytest.raises(InvalidInputError, match=words):
        guided(model, **changes)


def test_two_nodes_that_choose_the_same_are_refused(model):
    with pytest.raises(InvalidInputError, match="choose attention guidance"):
        guided(guided(model, nag_scale=5.0), nag_scale=11.0).policies.guidance(3.0)
    with pytest.raises(InvalidInputError, match=r"the formula \(apg and tcfg\)"):
        guided(guided(model, formula="apg"), formula="tcfg")


def test_a_node_leaves_what_those_before_it_set(model):
    led = guided(model, nag_scale=11.0)
    for changes, passes in (({"formula": "apg"}, 2), ({"skip_blocks": "1"}, 3)):
        asks = guided(led, **changes).policies.guidance(3.0).asks(NoiseLevel(0, 4, 1.0, 1000.0))
        assert len(asks) == passes and all(ask.reads == {"negative"} for ask in asks if ask.side == "positive")
    skipped = guided(guided(model, skip_blocks="1"), formula="apg").policies.guidance(3.0)
    assert isinstance(skipped, SkipLayers)
    with pytest.raises(InvalidInputError, match="choose the course of cfg"):
        guided(guided(model, cfg_course="6, 5"), cfg_course="3, 2")


def test_a_run_of_zero_steps_alone_leaves_its_noise(model, prompts):
    still = sampled(guided(model, formula="cfg_zero_star", zero_steps=4), prompts)
    assert still.isfinite().all()


@pytest.mark.parametrize("between", [{}, {"skip_blocks": "1", "skip_start": 0.0, "skip_end": 1.0}])
def test_a_part_and_a_course_of_two_nodes_both_count_in_any_order(model, between):
    settings = [{"cfg_course": "6, 3"}, between, {"cfg_end": 0.5}]
    for order in (settings, settings[::-1]):
        led = model
        for each in order:
            led = guided(led, **each)
        guidance = led.policies.guidance(5.0)
        asks = [guidance.asks(NoiseLevel(step, 4, 1.0, 1000.0)) for step in range(4)]
        assert [sum(ask.side == "negative" for ask in each) for each in asks] == [1, 1, 0, 0]


def test_a_part_that_holds_no_step_is_told_from_inside_of_a_course(model, prompts, caplog):
    led = guided(guided(model, skip_blocks="1", skip_start=0.1, skip_end=0.2), cfg_course="3, 2")
    sampled(led, prompts)
    assert "Skip-layer guidance does nothing in this run: none of the 4 steps" in caplog.text


def told(model, prompts, caplog, cfg: float = 3.0) -> str:
    caplog.clear()
    sampled(model, prompts, cfg)
    return caplog.text


def test_a_run_that_asks_nothing_is_told_as_such(model, prompts, caplog):
    text = told(guided(model, formula="cfg_zero_star", zero_steps=4), prompts, caplog)
    assert "None of the 4 steps of this run asks the model" in text and "negative prompt" not in text


@pytest.mark.parametrize(
    ("formula", "words"), [("cfg_zero_star", "CFG-Zero"), ("apg", "Adaptive projected"), ("tcfg", "Tangential")]
)
def test_a_formula_at_cfg_1_is_told(model, prompts, caplog, formula, words):
    led = guided(model, formula=formula, nag_scale=5.0)
    text = told(led, prompts, caplog, cfg=1.0)
    assert f"{words}" in text and "does nothing in this run: at cfg 1" in text
    assert "does nothing" not in told(led, prompts, caplog)
    zero = guided(model, formula="cfg_zero_star", zero_steps=1)
    assert "CFG-Zero" not in told(zero, prompts, caplog, cfg=1.0)


def test_numbers_of_another_formula_are_told(model, caplog):
    guided(model, formula="apg", apg_longest=4.0, apg_momentum=-0.5)
    guided(model, formula="cfg_zero_star", zero_steps=1)
    assert not caplog.records
    guided(model, formula="tcfg", apg_longest=4.0, zero_steps=2)
    assert "apg_longest does nothing here: it is for the formula apg, and tcfg is chosen" in caplog.text
    assert "zero_steps does nothing here: it is for the formula cfg_zero_star" in caplog.text


def test_the_cfg_of_the_second_expert_beside_a_course_is_told(models, tiny_host, prompts, caplog):
    save_experts(models)
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=2.0, high_noise_steps=2)
    assert "does nothing" not in told(pair, prompts, caplog)
    text = told(guided(pair, cfg_course="3, 2"), prompts, caplog)
    assert "The cfg 2 of the low-noise expert does nothing in this run: a course of cfg counts" in text


def test_advice_goes_by_the_cfg_of_a_course(models, prompts, caplog):
    folder = models / "diffusion_models"
    shutil.copy(folder / "t2v.safetensors", folder / "distilled_4steps.safetensors")
    model, harsh = load("distilled_4steps.safetensors"), "with distilled_4steps.safetensors, a model for few steps"
    assert f"Cfg 3 {harsh}" in told(model, prompts, caplog)
    assert harsh not in told(guided(model, cfg_course="1"), prompts, caplog)
    assert f"Cfg 6 {harsh}" in told(guided(model, cfg_course="6"), prompts, caplog, cfg=1.0)
