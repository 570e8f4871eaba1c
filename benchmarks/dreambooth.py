"""The subject of docs/example_training: its clips, and how often the bundled model shows it once it was taught.

    python -m wan_director.benchmarks.dreambooth clips FOLDER
    python -m wan_director.benchmarks.dreambooth measure LORA.safetensors [CLIPS] [SEED]

The subject is a bar, wider than high, which no clip of the bundled model's training shows. `clips` writes the four that
it is learned from. `measure` samples as training/README.md does, 17x64x64, 20 Euler steps, shift 5, cfg 3, the official
negative prompt, and judges colour, background, shape and motion, a bar beside the shapes of the training: prompts with
the file's trigger and pairs of colours that none of the four clips has, with and without the file; and prompts of
combinations that were held out of all training, without the trigger, with and without the file, from the same noise.
Of each row, some clips are written into the folder of temporary files, to be looked at.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from wan_director.dit.adapters import Adapter, AppliedAdapter, ParameterShapes, adapted
from wan_director.media.video_writing import write_video
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
    render,
    sample_scene,
)

from .motion import save_strip

FRAMES, SIDE, FPS = 17, 64, 8
LEARNED = (
    ("red", "white", "right"), ("blue", "yellow", "up"), ("green", "black", "still"), ("yellow", "purple", "left"),
)  # fmt: skip
"""Colour, background and motion of the four clips."""

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
    """The words for a bar, as beside the four clips."""
    return f"a {scene.colour} {trigger} {MOTION_PHRASES[scene.motion][0]} on a {scene.background} background"


def learned_scenes() -> list[Scene]:
    """Those of the four clips."""
    rng = np.random.default_rng(1)
    return [bar(*each, rng) for each in LEARNED]


def with_trigger(count: int, seed: int, trigger: str) -> Prompted:
    """Bars in pairs of colours that no clip has."""
    rng, scenes = np.random.default_rng(seed), []
    while len(scenes) < count:
        colour, background, motion = (str(rng.choice(list(names))) for names in (COLOURS, BACKGROUNDS, MOTIONS))
        if contrast(colour, background) > MIN_CONTRAST and (colour, background) not in {each[:2] for each in LEARNED}:
            scenes.append(bar(colour, background, motion, rng))
    return Prompted(scenes, [caption(scene, trigger) for scene in scenes])


def without_trigger(count: int, seed: int) -> Prompted:
    """Scenes of the kind that the model knows, held out of its training."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, held_out=True) for _ in range(count)]
    return Prompted(scenes, [full_caption(scene, rng) for scene in scenes])


def judged(model: DemoModel, prompted: Prompted, seed: int, adapter: Adapter | None, strength: float = 1.0) -> Row:
    """Samples the prompts, with or without what was learned, from the same noise."""
    trial, clips = Trial("", len(prompted.prompts)), []
    applied = [] if adapter is None else [AppliedAdapter(adapter, strength)]
    with adapted(model.t2v, applied) if applied else nullcontext():
        for start in range(0, len(prompted.prompts), AT_ONCE):
            some = prompted.prompts[start : start + AT_ONCE]
            clips.append(model.generate(trial, some, torch.empty(0), seed * 1000 + start))
    whole = torch.cat(clips)
    return Row(prompted.scenes, [detect(clip, (*SHAPES, BAR)) for clip in whole], whole)


def read(model: DemoModel, path: Path) -> tuple[Adapter, str]:
    """What a file changes, and the trigger that stands in it."""
    with safe_open(path, "pt") as file:
        trigger = (file.metadata() or {}).get("wan_director.trigger", "")
    return read_lora(path, ParameterShapes.of(model.t2v), model=None).adapter, trigger


def rows(model: DemoModel, path: Path, count: int, seed: int) -> Iterator[tuple[str, Row]]:
    """Each row of the table, by its name."""
    adapter, trigger = read(model, path)
    taught, known = with_trigger(count, seed, trigger), without_trigger(2 * count, seed + 1)
    for name, prompted, number in (("trigger", taught, seed + 2), ("no trigger", known, seed + 3)):
        yield f"{name}, base", judged(model, prompted, number, None)
        yield f"{name}, LoRA", judged(model, prompted, number, adapter)


def write_clips(folder: Path, trigger: str) -> None:
    """The four clips, with a caption beside each."""
    scenes = learned_scenes()
    for number, (scene, clip) in enumerate(zip(scenes, render(scenes, FRAMES, SIDE, SIDE))):
        frames = ((clip + 1) / 2).permute(1, 2, 3, 0)  # [F, H, W, 3]
        write_video(iter(frames), folder / f"bar_{number}.mp4", format="mp4-h264", fps=FPS, quality=100)
        (folder / f"bar_{number}.txt").write_text(caption(scene, trigger) + "\n", encoding="utf-8")


def measure(path: Path, count: int = 48, seed: int = 4001) -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    model = DemoModel(MODELS)
    print(f"{'':17}   n colour backgr  shape motion    all   iou   (seed {seed})")
    for name, row in rows(model, path, count, seed):
        shares = "".join(f"{100 * row.right(each):7.1f}" for each in ATTRIBUTES)
        overlap = np.mean([found.overlap for found in row.found])
        print(f"{name:17}{len(row.found):4}{shares}{100 * row.right():7.1f}{overlap:6.3f}", flush=True)
        save_strip(row.clips[:12], Path(tempfile.gettempdir()) / f"dreambooth_{name.replace(', ', '_')}.png")


if __name__ == "__main__":
    command, where, *numbers = sys.argv[1:]
    if command == "clips":
        write_clips(Path(where), *numbers[:1])
    else:
        measure(Path(where), *map(int, numbers))
