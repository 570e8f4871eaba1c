"""How far the object of the bundled model goes with Wan Motion, and whether the clip still shows what was asked for.

    python -m wan_director.benchmarks.motion [CLIPS]

Clips of an image-to-video model whose object moves in one of four directions, with no word for its speed; the same
scenes, start pictures and noise in every row. Way: between the object's places in the first and the last frame, as a
part of the side.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.dit.inputs import Conditioning
from wan_director.dit.rope import AS_TRAINED
from wan_director.sampling.ask import OtherText
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG, Guidance, PartOfSteps, WordsSlider
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.training.captions import MOTION_PHRASES, SPEED_WORDS, WAN_NEGATIVE
from wan_director.training.detector import detect
from wan_director.training.evaluate import DemoModel, Trial
from wan_director.training.scenes import Scene, render, sample_scene

DIRECTIONS = ("right", "left", "up", "down")
TRIAL = Trial("motion", 24, given=(0,), steps=8, cfg=2.0)
AMOUNTS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def scenes(count: int, seed: int) -> list[Scene]:
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        scene = sample_scene(rng, held_out=True, aspect=1.0)
        found += [scene] if scene.motion in DIRECTIONS else []
    return found


def caption(scene: Scene, speed: str = "") -> str:
    words = f" {SPEED_WORDS[speed][0]}" if speed else ""
    motion = MOTION_PHRASES[scene.motion][0]
    return f"a {scene.colour} {scene.shape} {motion}{words} on a {scene.background} background"


def rows(lively: OtherText, calm: OtherText) -> Iterator[tuple[str, float, Guidance, float]]:
    """Name, amount, guidance and scale of time of each row."""
    plain, part = CFG(TRIAL.cfg), PartOfSteps(0.0, 0.5)
    for amount in AMOUNTS:
        yield "time", amount, plain, 2.0**amount
    for amount in AMOUNTS:
        yield "words", amount, WordsSlider(plain, lively, calm, amount, part), 1.0
    for amount in AMOUNTS:
        yield "both", amount, WordsSlider(plain, lively, calm, amount, part), 2.0**amount


def way(clip: Tensor) -> float:
    """Of a clip [3, F, H, W] in -1..1, between the object's centres in its first and last frame, in sides."""
    colours = (clip - clip.flatten(1).median(1).values[:, None, None, None]).norm(dim=0)
    mask = (colours > 0.3).float()
    rows_, columns = (torch.arange(size) + 0.5 for size in mask.shape[1:])
    area = mask.sum((1, 2)).clamp(min=1e-6)
    x, y = (mask.sum(1) @ columns) / area / mask.shape[2], (mask.sum(2) @ rows_) / area / mask.shape[1]
    return math.hypot(float(x[-1] - x[0]), float(y[-1] - y[0]))


@torch.no_grad()
def main(count: int = TRIAL.count) -> None:
    torch.set_num_threads(1)
    model = DemoModel(Path(__file__).resolve().parents[1] / "models")
    shown = scenes(count, seed=90)
    truth = render(shown, TRIAL.frames, TRIAL.height, TRIAL.width)
    items = model._image_items(TRIAL, truth)

    def text(speed: str) -> Tensor:
        return torch.cat([model.encode_text(caption(scene, speed)) for scene in shown])

    positive = Conditioning(text(""), items)
    negative = Conditioning(model.encode_text(WAN_NEGATIVE), items)
    schedule, solver = make_schedule("simple", TRIAL.steps, TRIAL.shift), SOLVERS["euler"]
    print(f"{'':7}amount   way  colour backgr  shape  motion   %   (n = {count})")
    for name, amount, guidance, scale in rows(OtherText(text("fast")), OtherText(text("slow"))):
        places = AS_TRAINED._replace(scale=(scale, 1.0, 1.0))
        denoiser = Denoiser(model.i2v, positive, negative, guidance, places=places)
        shape = (count, 16, 1 + (TRIAL.frames - 1) // 4, TRIAL.height // 8, TRIAL.width // 8)
        *_, state = sample(denoiser, solver, schedule, begin(solver, schedule, torch.zeros(shape), seed=91))
        clips = model.vae.decode(TINY.denormalize(state.latent)).clamp(-1, 1)
        found = [detect(clip) for clip in clips]
        right = (
            100.0 * np.mean([getattr(f, each) == getattr(s, each) for f, s in zip(found, shown)])
            for each in ("colour", "background", "shape", "motion")
        )
        ways = np.mean([way(clip) for clip in clips])
        print(f"{name:7}{amount:6.1f}  {ways:.3f}" + "".join(f"{value:7.0f}" for value in right), flush=True)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
