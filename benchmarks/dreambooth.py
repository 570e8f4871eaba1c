"""How often the bundled model shows the bar of docs/example_training once it was taught, and what else it forgot.

    python -m wan_director.benchmarks.dreambooth LORA.safetensors [CLIPS] [SEED] [FRAMES]

The subject is a bar, wider than high, which no clip of the bundled model's training shows. Sampled as in the table of
training/README.md: 64x64, 20 Euler steps, shift 5, cfg 3, the official negative prompt. Colour, background, shape and
motion are judged, a bar beside the shapes of the training, from the same noise with and without the file, of prompts
with its trigger and pairs of colours that none of the four pictures has, and of prompts without it, of combinations
that were held out of all training. Of each row, some clips are written into the folder of temporary files.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from wan_director.common.errors import InvalidInputError
from wan_director.dit.adapters import Adapter, AppliedAdapter, ParameterShapes, adapted
from wan_director.model_loading.lora import read_lora
from wan_director.training.captions import MOTION_PHRASES, full_caption
from wan_director.training.detector import Finding, detect
from wan_director.training.evaluate import AT_ONCE, DemoModel, Trial
from wan_director.training.scenes import (
    BACKGROUNDS,
    BAR,
    COLOURS,
    MIN_CONTRAST,
    MOTIONS,
    SHAPES,
    SPEEDS,
    Scene,
    contrast,
    place,
    sample_scene,
)

from .motion import save_strip

FRAMES = 17
LEARNED = {("red", "white"), ("blue", "yellow"), ("green", "black"), ("yellow", "purple")}
"""Colour and background of the four pictures."""

ATTRIBUTES = ("colour", "background", "shape", "motion")
MODELS = Path(__file__).resolve().parents[1] / "models"


class Prompted(NamedTuple):
    """What clips are to show, and the words that ask for it."""

    scenes: list[Scene]
    prompts: list[str]


@dataclass(frozen=True, slots=True)
class Row:
    """What came of some prompts.

    Attributes:
        asked: the scenes that the prompts ask for.
        found: what the clips show.
        clips: [B, 3, F, H, W] in -1..1.
    """

    asked: list[Scene]
    found: list[Finding]
    clips: Tensor

    def right(self, *attributes: str) -> float:
        """Of the clips that show all of these as asked for, 0..1; without any, all that are judged."""
        names = attributes or ATTRIBUTES
        return float(
            np.mean([all(getattr(f, n) == getattr(s, n) for n in names) for s, f in zip(self.asked, self.found)])
        )


def bar(colour: str, background: str, motion: str, rng: np.random.Generator) -> Scene:
    """A big bar in plain colours, at a place of chance."""
    speed = SPEEDS[int(rng.integers(len(SPEEDS)))]
    here = (0.5, 0.5)
    scene = Scene(
        colour, background, BAR, motion, speed, "big", COLOURS[colour], BACKGROUNDS[background], here, here, (0.1, 0.1)
    )
    return place(scene, rng)


def caption(scene: Scene, trigger: str) -> str:
    """The words for a bar, as beside the four pictures."""
    motion = MOTION_PHRASES[scene.motion][0]
    return f"a {trigger} {scene.colour} square {motion} on a {scene.background} background"


def with_trigger(count: int, seed: int, trigger: str, motions: Sequence[str]) -> Prompted:
    """Bars in pairs of colours that no picture has."""
    rng, scenes = np.random.default_rng(seed), []
    while len(scenes) < count:
        colour, background, motion = (str(rng.choice(list(names))) for names in (COLOURS, BACKGROUNDS, motions))
        if contrast(colour, background) > MIN_CONTRAST and (colour, background) not in LEARNED:
            scenes.append(bar(colour, background, motion, rng))
    return Prompted(scenes, [caption(scene, trigger) for scene in scenes])


def without_trigger(count: int, seed: int) -> Prompted:
    """Scenes of the kind that the model knows, held out of its training."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, held_out=True) for _ in range(count)]
    return Prompted(scenes, [full_caption(scene, rng) for scene in scenes])


def as_asked(scenes: list[Scene], frames: int) -> list[Scene]:
    """What the clips are to show: a single frame stays still."""
    return scenes if frames > 1 else [replace(scene, motion="still") for scene in scenes]


def judged(model: DemoModel, prompted: Prompted, trial: Trial, adapter: Adapter | None) -> Row:
    """Samples the prompts, with or without what was learned, from the same noise."""
    clips = []
    with nullcontext() if adapter is None else adapted(model.t2v, [AppliedAdapter(adapter)]):
        for start in range(0, len(prompted.prompts), AT_ONCE):
            some = prompted.prompts[start : start + AT_ONCE]
            clips.append(model.generate(trial, some, torch.empty(0), trial.seed * 1000 + start))
    whole = torch.cat(clips)
    return Row(prompted.scenes, [detect(clip, (*SHAPES, BAR)) for clip in whole], whole)


def read(model: DemoModel, path: Path) -> tuple[Adapter, str]:
    """What a file changes, and the trigger that stands in it."""
    with safe_open(path, "pt") as file:
        trigger = (file.metadata() or {}).get("wan_director.trigger")
    if not trigger:
        raise InvalidInputError(f"{path.name} names no trigger. Give a file of `wan-director train` with one.")
    return read_lora(path, ParameterShapes.of(model.t2v), model=None).adapter, trigger


def rows(model: DemoModel, path: Path, count: int, seed: int, frames: int) -> Iterator[tuple[str, Row]]:
    """Each row of the table, by its name."""
    adapter, trigger = read(model, path)
    taught = with_trigger(count, seed, trigger, MOTIONS if frames > 1 else ("still",))
    known = without_trigger(2 * count, seed + 1)
    for name, prompted, number in (("trigger", taught, seed + 2), ("no trigger", known, seed + 3)):
        asked = prompted._replace(scenes=as_asked(prompted.scenes, frames))
        for which, learned in (("base", None), ("LoRA", adapter)):
            yield f"{name}, {which}", judged(model, asked, Trial("", count, frames, seed=number), learned)


def measure(path: Path, count: int = 48, seed: int = 4001, frames: int = FRAMES) -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    model = DemoModel(MODELS)
    print(f"{'':17}   n colour backgr  shape motion    all   iou   (seed {seed}, {frames} frames)")
    for name, row in rows(model, path, count, seed, frames):
        shares = "".join(f"{100 * row.right(each):7.1f}" for each in ATTRIBUTES)
        overlap = np.mean([found.overlap for found in row.found])
        print(f"{name:17}{len(row.found):4}{shares}{100 * row.right():7.1f}{overlap:6.3f}", flush=True)
        save_strip(row.clips[:12], Path(tempfile.gettempdir()) / f"dreambooth_{name.replace(', ', '_')}.png")


if __name__ == "__main__":
    measure(Path(sys.argv[1]), *map(int, sys.argv[2:]))
