"""Step caches on whole runs: MagCache against diffusers' on the same random weights, float32."""

from __future__ import annotations

import pytest
import torch
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import RunningDiT
from wan_director.sampling.cache import BlocksChange, MagnitudeRatios, RatioRecorder, StepCache, tally_of
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG, PartOfSteps
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS

# As of the transformer, see test_dit_parity, over all steps of a run.
LIMIT = 1e-5
CONFIG = DiTConfig(dim=256, ffn_dim=320, heads=2, layers=2, text_dim=96, text_tokens=32)
STEPS, SCALE = 20, 3.0
RATIOS = tuple(1.0 + 0.04 * (-1) ** index * (index % 5) for index in range(STEPS))
SCHEDULE = make_schedule("simple", STEPS, 5.0)


@pytest.fixture
def texts():
    return torch.randn(2, 1, 32, 96, generator=torch.Generator().manual_seed(5))


def ours_run(model, texts, cache):
    running = RunningDiT(model, Execution(may_overwrite=True))
    denoiser = Denoiser(running, Conditioning(texts[0]), Conditioning(texts[1]), CFG(SCALE), cache=cache)
    start = begin(SOLVERS["euler"], SCHEDULE, torch.zeros(1, 16, 3, 8, 8), seed=4)
    *_, state = sample(denoiser, SOLVERS["euler"], SCHEDULE, start)
    return start.latent, state


def their_run(model, texts, latent):
    for level, following in zip(SCHEDULE.levels, SCHEDULE.levels[1:]):
        answers = []
        for side, text in zip(("cond", "uncond"), texts):
            with torch.no_grad(), model.cache_context(side):
                answers.append(model(latent, torch.tensor([level.timestep]), text).sample)
        velocity = answers[1] + SCALE * (answers[0] - answers[1])
        latent = latent + (following.sigma - level.sigma) * velocity
    return latent


@pytest.mark.parametrize("table", [RATIOS, RATIOS[::2] + (0.9,)], ids=["a step each", "a table of 11"])
@pytest.mark.parametrize("threshold, most", [(0.06, 3), (0.3, 2), (0.5, 4)])
def test_mag_cache_equals_diffusers(make_pair, texts, table, threshold, most):
    from diffusers import MagCacheConfig

    ours, theirs = make_pair(CONFIG)
    cache = StepCache(MagnitudeRatios(table), BlocksChange(), threshold, PartOfSteps(0.2, 1.0), most)
    start, state = ours_run(ours, texts, cache)
    config = MagCacheConfig(
        threshold=threshold, max_skip_steps=most, retention_ratio=0.2, num_inference_steps=STEPS, mag_ratios=list(table)
    )
    theirs.enable_cache(config)
    expected = their_run(theirs, texts, start)
    _, plain = ours_run(ours, texts, StepCache(MagnitudeRatios(table), BlocksChange(), 0.0, PartOfSteps()))
    assert 2 <= tally_of(state.cache).spared < 2 * STEPS
    difference = (state.latent - expected).abs().max() / expected.abs().max()
    assert difference <= LIMIT < (plain.latent - expected).abs().max() / expected.abs().max()


def test_recorded_ratios_equal_those_of_diffusers(make_pair, texts, capsys):
    from diffusers import MagCacheConfig

    ours, theirs = make_pair(CONFIG)
    recorded = []
    start, _ = ours_run(ours, texts, RatioRecorder(recorded.append))
    theirs.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=STEPS))
    their_run(theirs, texts, start)
    printed = capsys.readouterr().out.splitlines()
    (expected, *_) = ([float(each) for each in line[1:-1].split(",")] for line in printed if line.startswith("[1.0"))
    assert recorded[0] == pytest.approx(expected, rel=1e-5) and len(set(expected)) > STEPS / 2
