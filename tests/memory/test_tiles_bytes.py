"""The memory of a run in tiles and windows: what is planned against what the meta device counts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import prod

import pytest
import torch
from wan_director.benchmarks.peak_memory import peak_bytes
from wan_director.common.shapes import LatentShape
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.conditioning.start_image import KeyframeImages
from wan_director.dit.conditioning.vace import VaceControl
from wan_director.dit.execution import Execution
from wan_director.dit.footprint import PLAIN
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.engine.sampling.policies import StepPolicies
from wan_director.engine.sampling.sights import Steps
from wan_director.engine.sampling.task import sampling_task
from wan_director.model_loading.footprint import ModelBytes
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG
from wan_director.sampling.noise import step_noise
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.windows import WHOLE_CLIP, SlidingWindows, SpatialTiles, TileSide

TILES = SpatialTiles(TileSide(60, 16), TileSide(104, 26), SlidingWindows(21, 8))
LATENT = (29, 160, 256)
"""Of 113 frames of 2048 x 1280 pixels."""


class FirstTwo:
    """The first two parts of a clip: what the others take is the same again, and counting is slow."""

    def __init__(self, windows) -> None:
        self._windows = windows
        self.weights = windows.weights

    def cuts(self, clip, level):
        return self._windows.cuts(clip, level)[:2]


class OneBlock:
    """A model of a preset's width with one block, or two with VACE, on the meta device."""

    def __init__(self, preset: str) -> None:
        branches = tuple(
            VaceBranch(1) if isinstance(branch, VaceBranch) else branch for branch in PRESETS[preset].branches
        )
        config = replace(PRESETS[preset], layers=1, branches=branches)
        with torch.device("meta"):
            self._model = WanDiT(config).to(torch.bfloat16)

    def embed(self, inputs):
        return self._model.embed(inputs)

    def trunk(self, passes):
        return self._model.trunk(passes, Execution(may_overwrite=True))

    def unembed(self, tokens, embedded):
        return self._model.unembed(tokens, embedded)


def counted(preset: str, windows, solver: str, latent: tuple[int, int, int]) -> int:
    """The most that a run of two steps with two prompts has on the device, beside the weights."""
    config, steps = PRESETS[preset], make_schedule("simple", 8, 5.0, 0.25)

    def prompt() -> Conditioning:
        items = []
        if config.image_channels:
            items.append(KeyframeImages(torch.empty(1, 16, *latent), torch.empty(1, 4, *latent)))
        if config.branch(VaceBranch) is not None:
            items.append(VaceControl(torch.empty(1, 96, *latent)))
        return Conditioning(torch.empty(1, 512, config.text_dim), tuple(items))

    def run():
        with torch.device("meta"):
            clean, noise, sides = torch.empty(1, 16, *latent), torch.empty(1, 16, *latent), (prompt(), prompt())
            record, sample = SOLVERS[solver].start(step_noise(1)), torch.empty(1, 16, *latent)
            denoiser = Denoiser(model, *sides, CFG(5.0), windows=FirstTwo(windows))
            for level, following in list(pairwise(steps.levels))[:2]:
                asked = denoiser.start()
                record, sample, _ = SOLVERS[solver].advance(record, asked, sample, level, following)
        return clean, noise

    model = OneBlock(preset)
    return peak_bytes(run)


def planned(preset: str, windows, latent: tuple[int, int, int]) -> int:
    config = PRESETS[preset]
    kinds = {type(branch): 1 for branch in config.branches}
    task = sampling_task(
        ModelBytes(0, (1,) * config.layers, 2, PLAIN, 0), config, 1, LatentShape(16, *latent), passes=2, run=0,
        steering=kinds,
        steps=Steps(StepPolicies(windows=windows)),
    )  # fmt: skip
    return task.ways[0].working_bytes


@pytest.mark.parametrize("preset", ["t2v-14B", "i2v-A14B", "vace-14B"])
def test_a_step_in_tiles_and_windows_holds_what_the_arithmetic_says(preset):
    found = planned(preset, TILES, LATENT)
    assert found == pytest.approx(counted(preset, TILES, "unipc", LATENT), rel=0.1)
    assert found < planned(preset, WHOLE_CLIP, LATENT) / 5


def test_of_a_small_model_the_state_is_much_and_is_planned_with_more():
    """Eight latents are planned for any solver, and beside tiles of 1.3B they are half of all."""
    found = planned("t2v-1.3B", TILES, LATENT)
    assert 0 < found - counted("t2v-1.3B", TILES, "unipc", LATENT) < 2 * 4 * 16 * prod(LATENT)
