"""The bundled model from pictures: frames between keyframes against the truth, and text to picture to video.

    python -m wan_director.benchmarks.pictures [CLIPS] [SEED] [OUTPUT.jsonl]

Keyframes stand where Wan Spread Keyframes puts them, and come from the true clip; a cross-fade of the same keyframes
stands beside the model. Text to picture to video is the graph of that name: a picture by the text-to-video model, the
first of a clip of the length in the row, given to the image-to-video model with the same prompt.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.nodes.pictures.spreading import spread_evenly
from wan_director.training.captions import full_caption
from wan_director.training.detector import detect
from wan_director.training.evaluate import DemoModel, Trial
from wan_director.training.scenes import Scene, render, sample_scene

LENGTH = 33
ATTRIBUTES = ("colour", "background", "shape", "motion")


def scenes(count: int, seed: int) -> tuple[list[Scene], list[str]]:
    rng = np.random.default_rng(seed)
    shown = [sample_scene(rng, held_out=True, aspect=1.0) for _ in range(count)]
    return shown, [full_caption(scene, rng) for scene in shown]


def decibels(videos: Tensor, truth: Tensor, frames: list[int]) -> Tensor:
    """PSNR of each clip over some frames: [B, 3, F, H, W] in -1..1 -> [B]."""
    return 10 * torch.log10(4 / (videos - truth)[:, :, frames].square().mean((1, 2, 3, 4)))


def cross_fade(truth: Tensor, places: tuple[int, ...]) -> Tensor:
    faded = truth.clone()
    for start, end in pairwise(places):
        for frame in range(start, end):
            part = (frame - start) / (end - start)
            faded[:, :, frame] = truth[:, :, start] * (1 - part) + truth[:, :, end] * part
    return faded


def shares(videos: Tensor, shown: list[Scene]) -> dict[str, float]:
    """Of the clips that show what was asked for, in %."""
    found = [detect(video.contiguous()) for video in videos]
    right = np.array([[getattr(f, name) == getattr(s, name) for name in ATTRIBUTES] for f, s in zip(found, shown)])
    return {name: 100 * right[:, i].mean() for i, name in enumerate(ATTRIBUTES)} | {"all": 100 * right.all(1).mean()}


def between_keyframes(model: DemoModel, count: int, seed: int) -> Iterator[dict]:
    shown, prompts = scenes(count, seed)
    truth = render(shown, LENGTH, 64, 64)
    for steps in (10, 20):
        for pictures in (2, 3, 5, 9):
            places = spread_evenly(pictures, LENGTH)
            middle = [frame for frame in range(LENGTH) if frame not in places]
            videos = model.generate(Trial("", count, LENGTH, given=places, steps=steps, cfg=2.0), prompts, truth, seed)
            found, faded = decibels(videos, truth, middle), decibels(cross_fade(truth, places), truth, middle)
            row = {"keyframes": list(places), "steps": steps, "between": float(found.mean())}
            row |= {"worst clip": float(found.min()), "clips of 24 dB": 100 * float((found >= 24).float().mean())}
            # A cross-fade of a still scene has no error at all.
            moving = torch.tensor([scene.motion != "still" for scene in shown])
            found, faded = found[moving], faded[moving]
            row |= {"moving clips": int(moving.sum()), "between, moving": float(found.mean())}
            row |= {"cross-fade": float(faded.mean()), "better than it": 100 * float((found > faded).float().mean())}
            row |= {"at the keyframes": float(decibels(videos, truth, list(places)).mean())}
            yield row | shares(videos, shown)


def from_text(model: DemoModel, count: int, seed: int) -> Iterator[dict]:
    shown, prompts = scenes(count, seed + 1)
    direct, given = Trial("", count, 17), Trial("", count, 17, given=(0,), cfg=2.0)
    for steps in (10, 20):
        nothing = torch.empty(count, 3, 0, 64, 64)
        videos = model.generate(replace(direct, steps=steps), prompts, nothing, seed)
        yield {"picture from": "none: text to video", "steps": steps} | shares(videos, shown)
        for frames in (1, 5, 9):
            pictures = model.generate(replace(direct, steps=steps, frames=frames), prompts, nothing, seed)[:, :, :1]
            videos = model.generate(replace(given, steps=steps), prompts, pictures, seed + 1)
            seen = shares(pictures.expand(-1, -1, 9, -1, -1), shown)
            row = {"picture from": f"{frames} frames", "steps": steps}
            row |= {f"{name} of the picture": seen[name] for name in ATTRIBUTES[:3]}
            row |= {"first frame": float(decibels(videos[:, :, :1], pictures, [0]).mean())}
            yield row | shares(videos, shown)


@torch.no_grad()
def main(count: int = 24, seed: int = 9131, output: str = "pictures.jsonl") -> None:
    torch.set_num_threads(1)
    model = DemoModel(Path(__file__).resolve().parents[1] / "models")
    for part in (from_text, between_keyframes):
        for row in part(model, count, seed):
            rounded = {key: round(float(v), 2) if isinstance(v, float) else v for key, v in row.items()}
            with Path(output).open("a", encoding="utf-8") as file:
                file.write(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each.isdecimal()]
    files = [each for each in sys.argv[1:] if not each.isdecimal()]
    main(*numbers, **({"output": files[0]} if files else {}))
