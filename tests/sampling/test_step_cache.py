"""Step caches in a run: EasyCache by its equations, threshold 0, windows, solvers that ask twice, failures, copies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from wan_director.common.errors import InvalidInputError
from wan_director.dit.execution import Execution
from wan_director.sampling.cache import (
    NO_CACHE,
    NOTHING_KEPT,
    BlocksChange,
    MagnitudeRatios,
    OutputChange,
    RatioRecorder,
    StepCache,
    StepCacheSettings,
    TimeEmbedding,
    TransformationRate,
    tally_of,
)
from wan_director.sampling.guidance import CFG, PartOfSteps, SkipLayers
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.state import state_of

from .test_seams import KINDS, Overlapping, setting, together

STEPS = 12
SCHEDULE = make_schedule("simple", STEPS, 5.0)
WHOLE = PartOfSteps()
RATIOS = (1.0, 0.9, *[0.98] * (STEPS - 3), 0.9)
CACHES = {
    "easycache": StepCache(TransformationRate(), OutputChange(), 0.5, PartOfSteps(0.15, 0.95), 3),
    "magcache": StepCache(MagnitudeRatios(RATIOS), BlocksChange(), 0.1, PartOfSteps(0.2, 1.0), 2),
    "teacache": StepCache(TimeEmbedding((1.0, 0.0)), BlocksChange(), 0.3, PartOfSteps(0.0, 0.95)),
}


def run(given, start=None, solver="euler", execution=None, **options):
    options = {"guidance": CFG(3.0)} | options
    denoiser = given.denoiser(execution or Execution(may_overwrite=True), **options)
    start = start or begin(SOLVERS[solver], SCHEDULE, torch.zeros_like(given.latent), seed=3)
    return list(sample(denoiser, SOLVERS[solver], SCHEDULE, start))


def off(cache: StepCache) -> StepCache:
    return replace(cache, threshold=0.0)


def alone(given, latent, level) -> torch.Tensor:
    """The model's answer for the positive prompt."""
    with torch.no_grad():
        return given.model(given.positive.inputs(latent, torch.tensor([level.timestep])))


def test_easy_cache_is_what_its_equations_say():
    """A restatement with the model alone, for one prompt and Euler steps."""
    given = setting("t2v")
    threshold, active = 0.5, range(2, 11)
    latent = begin(SOLVERS["euler"], SCHEDULE, torch.zeros_like(given.latent), seed=3).latent
    spared, total, rate, seen, said, difference = [], 0.0, None, None, None, None
    for level, following in zip(SCHEDULE.levels, SCHEDULE.levels[1:]):
        reuse = False
        if level.index in active and rate is not None:
            total += rate * (latent - seen).abs().mean() / said.abs().mean()
            reuse = bool(total < threshold)
            total = total if reuse else 0.0
        velocity = latent + difference if reuse else alone(given, latent, level)
        difference = difference if reuse else velocity - latent
        if level.index in active and not reuse:
            if seen is not None:
                rate = (velocity - said).abs().mean() / (latent - seen).abs().mean()
            seen, said = latent, velocity
        spared.append(reuse)
        latent = latent + (following.sigma - level.sigma) * velocity
    cache = StepCache(TransformationRate(), OutputChange(), threshold, PartOfSteps(2 / STEPS, 11 / STEPS))
    last = run(given, guidance=CFG(1.0), cache=cache)[-1]
    assert 2 <= sum(spared) < STEPS - 3 and tally_of(last.cache).spared == sum(spared)
    torch.testing.assert_close(last.latent, latent, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CACHES)
def test_threshold_zero_is_no_cache_to_the_bit_and_others_spare_steps(kind, name):
    given = setting(kind)
    plain, none = run(given, cache=NO_CACHE)[-1], run(given, cache=off(CACHES[name]))[-1]
    assert torch.equal(plain.latent, none.latent) and not plain.cache and tally_of(none.cache).spared == 0
    states = run(given, cache=CACHES[name])
    tally = tally_of(states[-1].cache)
    assert tally.asked == 2 * STEPS and 2 <= tally.spared < 2 * STEPS - 2 and tally.spared % 2 == 0
    assert states[-1].latent.isfinite().all() and not torch.equal(states[-1].latent, plain.latent)
    assert 0 < tally.change < CACHES[name].threshold
    assert torch.equal(run(given, cache=CACHES[name], grouped=together)[-1].latent, states[-1].latent)
    for state in states[3:8:2]:
        again = run(given, state_of(load(save(state.tensors()))), cache=CACHES[name])
        assert torch.equal(again[-1].latent, states[-1].latent) and tally_of(again[-1].cache) == tally


@pytest.mark.parametrize("name", CACHES)
def test_a_spared_step_brings_no_weights(name):
    given, turns = setting("t2v"), Counter()

    def counting(blocks):
        turns["passes"] += 1
        yield from blocks

    last = run(given, execution=Execution(stream=counting, may_overwrite=True), cache=CACHES[name])[-1]
    assert turns["passes"] == 2 * STEPS - tally_of(last.cache).spared


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("solver", ["heun", "dpmpp_2s_ancestral", "unipc"])
def test_what_a_solver_asks_in_a_step_is_spared_together(name, solver):
    given, asked = setting("t2v"), []
    execution = Execution(on_block=lambda index, _tokens: asked.append(index))
    denoiser = given.denoiser(execution, guidance=CFG(3.0), cache=CACHES[name])
    start = begin(SOLVERS[solver], SCHEDULE, torch.zeros_like(given.latent), seed=3)
    per_step = []
    for state in sample(denoiser, SOLVERS[solver], SCHEDULE, start):
        per_step.append(len(asked))
        asked.clear()
        assert state.latent.isfinite().all()
    blocks = 3 * {"heun": 4, "dpmpp_2s_ancestral": 4, "unipc": 2}[solver]
    assert set(per_step[:-1]) == {0, blocks}, per_step  # the last step may ask once


def test_each_window_decides_for_itself_and_keeps_its_own():
    given = setting("t2v")
    for cache in CACHES.values():
        last = run(given, windows=Overlapping(), cache=cache)[-1]
        tally = tally_of(last.cache)
        assert tally.asked == 2 * 2 * STEPS and 0 < tally.spared < tally.asked
        assert {name.split("/")[1] for name in last.cache if "/" in name} == {"0-3", "2-5"}


@pytest.mark.parametrize("name", CACHES)
def test_a_step_made_again_after_a_failure_is_the_same(name):
    given, calls = setting("t2v"), []

    def fail_now_and_then(index, _tokens):
        calls.append(index)
        if len(calls) in (8, 11, 26, 31, 40):
            raise MemoryError

    def again(predict, *asked):
        while True:
            try:
                return predict(*asked)
            except MemoryError:
                continue

    execution = Execution(on_block=fail_now_and_then, may_overwrite=True)
    failing = run(given, execution=execution, cache=CACHES[name], carefully=again)[-1]
    whole = run(given, cache=CACHES[name])[-1]
    assert torch.equal(failing.latent, whole.latent) and tally_of(failing.cache) == tally_of(whole.cache)


def test_a_question_that_was_not_asked_before_is_computed_in_a_spared_step():
    """Skip-layer guidance that begins in the middle of spared steps."""
    given = setting("t2v")
    cache = StepCache(MagnitudeRatios((1.0,) * STEPS), BlocksChange(), 0.5, PartOfSteps(0.2, 1.0))
    guidance = SkipLayers(CFG(3.0), frozenset({1}), 2.0, PartOfSteps(0.5, 1.0))
    tally = tally_of(run(given, guidance=guidance, cache=cache)[-1].cache)
    computed_at_first = 3 * 2  # steps 0 to 2
    assert tally.asked - tally.spared == computed_at_first + 1


def test_what_is_kept_of_experts_is_apart_and_the_tally_is_of_the_run():
    given, cache = setting("t2v"), CACHES["magcache"]
    denoisers = [replace(given.denoiser(guidance=CFG(3.0), cache=cache), name=name) for name in ("high", "low")]

    class Turns:
        def start(self, kept=NOTHING_KEPT):
            asked = tally_of(kept).asked
            return denoisers[asked >= STEPS].start(kept)

    start = begin(SOLVERS["euler"], SCHEDULE, torch.zeros_like(given.latent), seed=3)
    states = [*sample(Turns(), SOLVERS["euler"], SCHEDULE, start)]
    assert tally_of(states[-1].cache).asked == 2 * STEPS
    half = STEPS // 2
    assert (
        tally_of(states[half].cache).spared == tally_of(states[half - 1].cache).spared
    )  # begins with a step of its own
    assert {name.split("/")[0] for name in states[-1].cache} == {"low", "tally"}


def test_recording_changes_nothing_and_gives_a_ratio_for_each_step():
    given, recorded = setting("t2v"), []
    assert torch.equal(run(given, cache=RatioRecorder(recorded.append))[-1].latent, run(given)[-1].latent)
    assert len(recorded[0]) == STEPS and recorded[0][0] == 1.0 and len(set(recorded[0])) == STEPS


def test_bad_numbers_are_refused():
    for changes in ({"threshold": -0.1}, {"threshold": float("nan")}, {"most_in_a_row": -1}):
        with pytest.raises(InvalidInputError, match="0 \\(off\\) or more"):
            replace(CACHES["easycache"], **changes)
    for ratios in ((), (1.0, 0.0), (1.0, float("nan"))):
        with pytest.raises(InvalidInputError, match="positive number for each step"):
            MagnitudeRatios(ratios)
    with pytest.raises(InvalidInputError, match="step cache"):
        StepCacheSettings("other", None, WHOLE, 3).of(setting("t2v").model.config, "x.safetensors")
    for method, missing in (("magcache", "Record one"), ("teacache", "Choose easycache")):
        with pytest.raises(InvalidInputError, match=missing):
            StepCacheSettings(method, None, WHOLE, 3).of(setting("t2v").model.config, "x.safetensors")
