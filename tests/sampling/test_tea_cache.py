"""TeaCache against what diffsynth's made of a run of the same random model, float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import RunningDiT, WanDiT
from wan_director.sampling.cache import BlocksChange, StepCache, TimeEmbedding, tally_of
from wan_director.sampling.cache.figures import FIGURES
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import PartOfSteps
from wan_director.sampling.schedule import make_schedule

STEPS = 16
THRESHOLDS = (0.15, 0.25, 0.5)
SIZES = {"dim": 128, "ffn_dim": 160, "heads": 1, "layers": 2, "text_dim": 48, "text_tokens": 12, "freq_dim": 256}
RECORDED = json.loads((Path(__file__).parent / "fixtures" / "tea_cache.json").read_text())
LIMIT = 1e-5
"""Two implementations of one model agree to 3e-6, see tests/dit/test_dit_parity."""


def levels():
    return make_schedule("simple", STEPS, 5.0).levels[:-1]


def weights_of(model) -> dict[str, torch.Tensor]:
    """Of small random values, by name and shape alone."""
    generator = torch.Generator().manual_seed(8)
    shapes = {name: value.shape for name, value in sorted(model.state_dict().items())}
    weights = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    weights["time_projection.1.weight"] *= 0.01  # the modulation then changes by 3 to 7 % a step, about as in Wan
    return {name: value + float("norm" in name and name.endswith("weight")) for name, value in weights.items()}


def noisy(level) -> torch.Tensor:
    clean, noise = torch.randn(2, 1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(9))
    return level.alpha * clean + level.sigma * noise


def text() -> torch.Tensor:
    return torch.randn(1, SIZES["text_tokens"], SIZES["text_dim"], generator=torch.Generator().manual_seed(10))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_tea_cache_equals_diffsynth(threshold):
    model = WanDiT(DiTConfig(**SIZES)).eval().requires_grad_(False)
    model.load_state_dict(weights_of(model))
    coefficients = FIGURES["t2v-1.3B"].coefficients
    # There the first and the last step are always computed, and every other may be spared.
    part = PartOfSteps(0.0, (STEPS - 1) / STEPS)
    cache = StepCache(TimeEmbedding(coefficients), BlocksChange(), threshold, part)
    running, prompt = RunningDiT(model, Execution(may_overwrite=True)), Conditioning(text())
    denoiser = Denoiser(running, prompt, prompt, cache=cache)
    kept, spared = {}, []
    expected = RECORDED[str(threshold)]
    for level, values in zip(levels(), expected["velocities"]):
        prediction = denoiser.start(kept)
        with torch.no_grad():
            velocity = prediction(noisy(level), level)
        before, kept = tally_of(kept).spared, prediction.kept
        spared.append(tally_of(kept).spared - before)
        ours, theirs = velocity[0, ::5, 1, 1, ::2].flatten(), torch.tensor(values)
        assert (ours - theirs).abs().max() <= LIMIT * velocity.abs().max()
    assert spared == expected["spared"]


def test_the_recorded_runs_spare_some_steps():
    spared = [sum(RECORDED[str(threshold)]["spared"]) for threshold in THRESHOLDS]
    assert 0 < spared[0] < spared[1] < spared[2] < STEPS - 2
