"""Wan Step Cache: 0 is absent; each method spares steps of both experts; tables; what the log and refusals say."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from wan_director.common.errors import InvalidInputError, MissingFileError
from wan_director.dit.presets import PRESETS
from wan_director.engine.memory import MemorySettings
from wan_director.sampling.cache.figures import FIGURES, UNKNOWN, figures_of

from .conftest import FORMS, HIGH, LOW, call, dit, encode, in_form, load, save_experts

pytestmark = pytest.mark.usefixtures("inference")

DEFAULTS = {"method": "easycache", "threshold": -1.0, "start": 0.2, "end": 0.95, "most_in_a_row": 3, "table": ""}
SAMPLER = {"seed": 7, "cfg": 3.0, "steps": 20, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def cached(model, **changes):
    return call("StepCache", model=model, **DEFAULTS | changes)


def sampled(model, prompts, **changes) -> torch.Tensor:
    sides = dict(zip(("positive", "negative"), prompts))
    latent = {"samples": torch.zeros(1, 16, 3, 6, 8)}
    return call("Sampler", model=model, latent=latent, **sides, **SAMPLER | changes)["samples"]


@pytest.fixture
def model(tiny_host):
    return load("t2v.safetensors")


@pytest.fixture
def prompts(tiny_host):
    return encode("text.safetensors")


def spared(caplog) -> tuple[int, int]:
    """Of the last run: passes spared, and of how many, as the log says."""
    words = [record.getMessage() for record in caplog.records if "step cache spared" in record.getMessage()][-1].split()
    return int(words[4]), int(words[6])


def test_threshold_zero_is_the_model_itself(model):
    for method in ("easycache", "magcache", "teacache", "record"):
        assert cached(model, method=method, threshold=0.0) is model


def test_the_log_says_how_many_passes_were_spared(model, prompts, caplog):
    plain = sampled(model, prompts)
    with caplog.at_level(logging.INFO):
        result = sampled(cached(model), prompts)
    count, passes = spared(caplog)
    assert passes == 40 and 6 <= count <= 24 and count % 2 == 0
    assert result.isfinite().all() and not torch.equal(result, plain)
    assert torch.equal(sampled(model, prompts), plain)


def test_a_run_of_few_steps_goes_without_and_says_so(model, prompts, caplog):
    with caplog.at_level(logging.INFO):
        result = sampled(cached(model), prompts, steps=4)
    assert "The step cache is off in this run of 4 steps" in caplog.text and "passes of the model" not in caplog.text
    assert torch.equal(result, sampled(model, prompts, steps=4))


def test_both_experts_spare_steps(models, prompts, caplog):
    save_experts(models)
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=10)
    after = cached(pair, threshold=1.5)
    assert after.policies.cache == after.low_noise.model.policies.cache
    with caplog.at_level(logging.INFO):
        result = sampled(after, prompts)
    count, passes = spared(caplog)
    assert passes == 40 and count >= 4 and not torch.equal(result, sampled(pair, prompts))


def test_a_recorded_table_serves_mag_cache(model, prompts, tiny_host, caplog):
    with caplog.at_level(logging.INFO):
        recorded = sampled(cached(model, method="record"), prompts)
    assert torch.equal(recorded, sampled(model, prompts))
    (path,) = (tiny_host.output / "step_cache").glob("t2v_00001_.json")
    assert str(path) in caplog.text
    assert len(json.loads(path.read_text())["ratios"]) == SAMPLER["steps"]
    with caplog.at_level(logging.INFO):
        sampled(cached(model, method="magcache", threshold=0.2, table=str(path)), prompts)
    count, _ = spared(caplog)
    assert count >= 4
    with pytest.raises(InvalidInputError, match="recorded with a model of 2 blocks of width 48 and 16 input channels"):
        cached(load("i2v.safetensors"), method="magcache", table=str(path))
    again = cached(model, method="record", table="mine.json")
    sampled(again, prompts, steps=3)
    assert (tiny_host.output / "step_cache" / "mine_00001_.json").is_file()


def test_tables_that_are_none_are_refused(model, tmp_path):
    for content in ("", "[]", '{"kind": "other", "ratios": [1.0]}', '{"ratios": ["a"]}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InvalidInputError, match="no table of a step cache"):
            cached(model, method="magcache", table="bad.json")
    with pytest.raises(MissingFileError, match="no table gone.json"):
        cached(model, method="magcache", table="gone.json")


def test_what_cannot_work_is_refused_before_anything_runs(model):
    for method, words in (("magcache", "Record one"), ("teacache", "easycache, which needs none")):
        with pytest.raises(InvalidInputError, match=words):
            cached(model, method=method)
    with pytest.raises(InvalidInputError, match="holds none of them"):
        cached(model, start=0.9, end=0.5)
    with pytest.raises(InvalidInputError, match="a step cache already"):
        cached(cached(model))
    with pytest.raises(InvalidInputError, match="only Wan Sampler follows"):
        call("ToNativeModel", model=cached(model))


def test_figures_are_found_by_the_form_of_a_model():
    for name in ("t2v-1.3B", "t2v-14B", "i2v-14B", "flf2v-14B", "i2v-A14B", "vace-1.3B", "vace-14B"):
        assert figures_of(PRESETS[name]) == FIGURES[name]
    assert figures_of(PRESETS["ti2v-5B"]) == FIGURES["t2v-5B"]
    assert figures_of(PRESETS["t2v-14B"], is_pair=True) == FIGURES["t2v-A14B"]
    for name in set(PRESETS) - set(FIGURES) - {"ti2v-5B"}:
        assert figures_of(PRESETS[name]) in (UNKNOWN, FIGURES["i2v-14B"]), name
    assert figures_of(dit().config) is UNKNOWN
    assert all(figures.ratios[0] == 1 and len(figures.ratios) >= 30 for figures in FIGURES.values())


@pytest.mark.parametrize("method", ["easycache", "magcache"])
def test_fp8_and_swapped_blocks_run_with_it(prompts, tiny_host, method):
    table = tiny_host.output / "table.json"
    table.parent.mkdir(exist_ok=True)
    form = {"kind": "wan_director.magnitude_ratios", "width": 48, "blocks": 2, "channels": 16}
    table.write_text(json.dumps(form | {"ratios": [1.0] * 20}))
    memory = MemorySettings(blocks_to_swap=2)
    for precision in ("fp8_e4m3fn", "auto"):
        model = call("LoadModel", model_name="t2v.safetensors", precision=precision, attention="auto")
        model = cached(model, method=method, threshold=0.4, table=str(table))
        assert torch.equal(sampled(model, prompts, memory=memory), sampled(model, prompts))


def test_of_two_experts_the_second_alone_goes_without_in_few_steps_too(models, prompts, caplog):
    save_experts(models)
    pair = {"high_noise": load(HIGH), "low_noise_cfg": 0.0, "high_noise_steps": 1}
    with caplog.at_level(logging.INFO):
        result = sampled(call("Experts", low_noise=cached(load(LOW)), **pair), prompts, steps=4)
    assert "The step cache is off in this run of 4 steps" in caplog.text and "passes of the model" not in caplog.text
    assert torch.equal(result, sampled(call("Experts", low_noise=load(LOW), **pair), prompts, steps=4))


def test_before_two_experts_a_second_cache_and_a_recorder_are_refused(models, tiny_host):
    save_experts(models)
    high, low, numbers = load(HIGH), load(LOW), {"low_noise_cfg": 0.0, "high_noise_steps": 1}
    with pytest.raises(InvalidInputError, match=f"{LOW} comes with a step cache already"):
        cached(call("Experts", high_noise=high, low_noise=cached(low), **numbers))
    for recorded in ({"high_noise": cached(high, method="record")}, {"low_noise": cached(low, method="record")}):
        with pytest.raises(InvalidInputError, match="Put it behind Wan Two Experts"):
            call("Experts", **{"high_noise": high, "low_noise": low} | recorded, **numbers)


def test_each_recorded_run_has_a_file_of_its_own(model, prompts, tiny_host):
    recording = cached(model, method="record")
    for seed in (1, 2):
        sampled(recording, prompts, seed=seed, steps=3)
    tables = sorted((tiny_host.output / "step_cache").iterdir())
    assert [path.name for path in tables] == ["t2v_00001_.json", "t2v_00002_.json"]
    assert tables[0].read_text() != tables[1].read_text()


def test_a_table_that_cannot_be_written_does_not_cost_the_run(model, prompts, tiny_host, caplog):
    recording = cached(model, method="record")
    tiny_host.output.mkdir(exist_ok=True)
    (tiny_host.output / "step_cache").write_text("a file where the folder should be")
    assert torch.equal(sampled(recording, prompts, steps=3), sampled(model, prompts, steps=3))
    assert "could not be written" in caplog.text and '"ratios": [1.0, ' in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": "x"}, "threshold must be a number, got a text"),
        ({"threshold": -0.5}, "0 .off. or more, or -1 for the usual one, got -0.5"),
        ({"threshold": float("nan")}, "threshold of 0 .off. or more"),
        ({"start": None}, "start must be a number, got nothing"),
        ({"end": "x"}, "end must be a number"),
        ({"most_in_a_row": "x"}, "most_in_a_row must be a number"),
        ({"table": 5}, "table must be a text, got a number"),
    ],
)
def test_values_of_other_kinds_are_refused_in_a_sentence(model, changes, words):
    with pytest.raises(InvalidInputError, match=words):
        cached(model, **changes)


def test_a_model_that_answers_zeros_is_no_division_by_zero(model, prompts, caplog):
    head = model.residence.module.head.head
    kept = [parameter.clone() for parameter in head.parameters()]
    try:
        for parameter in head.parameters():
            parameter.zero_()
        with caplog.at_level(logging.INFO):
            assert sampled(cached(model, start=0.0, end=1.0), prompts).isfinite().all()
        assert "spared 0 of 40" in caplog.text
    finally:
        for parameter, values in zip(head.parameters(), kept):
            parameter.copy_(values)


def test_a_table_beside_another_method_is_told(model, caplog):
    cached(model, table="some.json")
    assert "table of the step cache does nothing: easycache goes without" in caplog.text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["easycache", "magcache", "record"])
def test_quantised_and_adapted_models_run_with_it_swapped_too(models, prompts, tiny_host, form, method, caplog):
    """Where no step is spared the run is the plain one to the bit; where some are, swapping blocks changes nothing."""
    model, memory = in_form(form, models), MemorySettings(blocks_to_swap=2)
    table = tiny_host.output / "table.json"
    table.parent.mkdir(exist_ok=True)
    sizes = {"kind": "wan_director.magnitude_ratios", "width": model.spec.config.dim, "blocks": 2, "channels": 16}
    table.write_text(json.dumps(sizes | {"ratios": [1.0, *[0.99] * 19]}))
    settings = {"method": method} | ({"table": str(table)} if method == "magcache" else {})
    plain = sampled(model, prompts)
    assert torch.equal(sampled(cached(model, threshold=1e-9, **settings), prompts, memory=memory), plain)
    if method == "record":
        return
    sparing = cached(model, threshold=0.4, **settings)
    with caplog.at_level(logging.INFO):
        result = sampled(sparing, prompts)
    assert spared(caplog)[0] >= 4 and not torch.equal(result, plain)
    assert torch.equal(sampled(sparing, prompts, memory=memory), result)
