"""How far the object of the bundled model goes with Wan Motion, and whether the clip still shows what was asked for.

    python -m wan_director.benchmarks.motion [CLIPS] [SEED] [METHOD ...]

Clips of an image-to-video model whose object moves in one of four directions, with no word for its speed; the same
scenes, start pictures and noise in every row, and the words, parts of the steps and scales of time that the node has
by default. Way: between the object's places in the first and the last frame, as a part of the side. Of each row, some
clips are written into the folder of temporary files, to be looked at.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.dit.inputs import Conditioning
from wan_director.dit.rope import AS_TRAINED
from wan_director.nodes.options.motion import CALM, LIVELY, METHODS
from wan_director.sampling.ask import OtherText
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG, WHOLE_RUN, Guidance, WordsSlider
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.training.captions import MOTION_PHRASES, WAN_NEGATIVE
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


def caption(scene: Scene, behind: str = "") -> str:
    words = f", {behind}" if behind else ""
    motion = MOTION_PHRASES[scene.motion][0]
    return f"a {scene.colour} {scene.shape} {motion} on a {scene.background} background{words}"


def rows(methods: Iterable[str], lively: OtherText, calm: OtherText) -> Iterator[tuple[str, float, Guidance, float]]:
    """Name, amount, guidance and scale of time of each row."""
    plain = CFG(TRIAL.cfg)
    for method in methods:
        for amount in AMOUNTS:
            guided = plain if method == "time" else WordsSlider(plain, lively, calm, amount, WHOLE_RUN)
            yield method, amount, guided, 1.0 if method == "words" else 2.0**amount


def way(clip: Tensor) -> float:
    """Of a clip [3, F, H, W] in -1..1, between the object's centres in its first and last frame, in sides."""
    colours = (clip - clip.flatten(1).median(1).values[:, None, None, None]).norm(dim=0)
    mask = (colours > 0.3).float()
    rows_, columns = (torch.arange(size) + 0.5 for size in mask.shape[1:])
    area = mask.sum((1, 2)).clamp(min=1e-6)
    x, y = (mask.sum(1) @ columns) / area / mask.shape[2], (mask.sum(2) @ rows_) / area / mask.shape[1]
    return math.hypot(float(x[-1] - x[0]), float(y[-1] - y[0]))


@torch.no_grad()
def main(count: int = TRIAL.count, seed: int = 90, methods: Iterable[str] = METHODS) -> None:
    torch.set_num_threads(1)
    model = DemoModel(Path(__file__).resolve().parents[1] / "models")
    shown = scenes(count, seed)
    truth = render(shown, TRIAL.frames, TRIAL.height, TRIAL.width)
    items = model.image_items(TRIAL, truth)

    def text(behind: str) -> Tensor:
        return torch.cat([model.encode_text(caption(scene, behind)) for scene in shown])

    positive = Conditioning(text(""), items)
    negative = Conditioning(model.encode_text(WAN_NEGATIVE), items)
    schedule, solver = make_schedule("simple", TRIAL.steps, TRIAL.shift), SOLVERS["euler"]
    print(f"{'':7}amount   way  colour backgr  shape  motion   %   (n = {count}, seed {seed})")
    for name, amount, guidance, scale in rows(methods, OtherText(text(LIVELY)), OtherText(text(CALM))):
        places = AS_TRAINED._replace(scale=(scale, 1.0, 1.0))
        denoiser = Denoiser(model.i2v, positive, negative, guidance, places=places)
        shape = (count, 16, 1 + (TRIAL.frames - 1) // 4, TRIAL.height // 8, TRIAL.width // 8)
        *_, state = sample(denoiser, solver, schedule, begin(solver, schedule, torch.zeros(shape), seed=seed + 1))
        clips = model.vae.decode(TINY.denormalize(state.latent)).clamp(-1, 1)
        found = [detect(clip) for clip in clips]
        right = (
            100.0 * np.mean([getattr(f, each) == getattr(s, each) for f, s in zip(found, shown)])
            for each in ("colour", "background", "shape", "motion")
        )
        ways = np.mean([way(clip) for clip in clips])
        print(f"{name:7}{amount:6.1f}  {ways:.3f}" + "".join(f"{value:7.0f}" for value in right), flush=True)
        save_strip(clips[:4], Path(tempfile.gettempdir()) / f"motion_{name}_{amount:g}.png")


def save_strip(clips: Tensor, path: Path) -> None:
    """Every fourth frame of some clips [B, 3, F, H, W] in -1..1, a clip a row."""
    frames = ((clips[:, :, ::4] + 1) * 127.5).round().byte()
    image = frames.permute(0, 3, 2, 4, 1).flatten(2, 3).flatten(0, 1)
    Image.fromarray(image.contiguous().numpy()).save(path)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each.isdecimal()]
    main(*numbers, **({"methods": named} if (named := [each for each in sys.argv[1:] if each in METHODS]) else {}))
