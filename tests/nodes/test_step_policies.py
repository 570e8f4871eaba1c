"""What a step is planned to take: as many passes as guidance asks, in windows as long as they are, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from wan_director.common.shapes import LatentShape
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.presets import PRESETS
from wan_director.engine.sampling.policies import WHOLE_STEPS, StepPolicies
from wan_director.engine.sampling.sights import Steps
from wan_director.engine.sampling.task import sampling_task
from wan_director.model_loading.footprint import bytes_before_download
from wan_director.sampling.cache import NO_CACHE
from wan_director.sampling.guidance import CFG
from wan_director.sampling.windows import WHOLE_CLIP

CONFIG = PRESETS["t2v-1.3B"]
FRAMES = 21


@dataclass(frozen=True)
class Windows:
    """Of nine frames, each six further."""

    def cuts(self, clip, level):
        return tuple(Cut(start, start + 9, clip.frames) for start in range(0, clip.frames - 8, 6))


@dataclass(frozen=True)
class OneBuffer:
    def kept_bytes(self, asks, tokens_bytes, latent_bytes):
        return asks * tokens_bytes


def task(frames: int = FRAMES, policies=WHOLE_STEPS):
    weights = bytes_before_download(CONFIG, "bf16")
    return sampling_task(weights, CONFIG, 1, LatentShape(16, frames, 60, 104), passes=2, run=0, steps=Steps(policies))


def test_the_whole_clip_without_a_cache_is_what_is_planned_for():
    assert task(policies=StepPolicies(CFG, WHOLE_CLIP, NO_CACHE)) == task()
    assert task().passes == 2


def test_a_pass_holds_a_window_and_a_step_runs_each_of_them():
    found, whole, short = task(policies=StepPolicies(windows=Windows())), task(), task(9)
    assert found.flops == short.flops and found.passes == 2 * 3
    latents = task(FRAMES).ways[0].working_bytes - found.ways[0].working_bytes
    assert latents > 0.5 * (whole.ways[0].working_bytes - short.ways[0].working_bytes)
    assert short.ways[0].working_bytes < found.ways[0].working_bytes < whole.ways[0].working_bytes


def test_what_a_cache_keeps_is_counted_for_every_question_and_window():
    plain, kept = (task(policies=StepPolicies(windows=Windows(), cache=cache)) for cache in (NO_CACHE, OneBuffer()))
    buffer = 9 * 30 * 52 * CONFIG.dim * 2
    assert kept.ways[0].working_bytes - plain.ways[0].working_bytes == pytest.approx(3 * 2 * buffer)
