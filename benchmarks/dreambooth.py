"""How often the bundled model shows the two colours of docs/example_training once it was taught, and what it forgot.

    python -m wan_director.benchmarks.dreambooth LORA.safetensors [CLIPS] [SEED]
    python -m wan_director.benchmarks.dreambooth --pictures FOLDER

The subject is a pair of colours, brown on lavender, that no clip of the bundled model's training shows. Sampled as in
the table of training/README.md: 17 frames of 64x64, 20 Euler steps, shift 5, cfg 3, the official negative prompt.
Colour, background, shape and motion are judged, from the same noise with and without the file, of prompts with its
trigger, in which all moves that stood still in the four pictures, and of prompts without it, of combinations that were
held out of all training. Of each row, some clips are written into the folder of temporary files. With --pictures the
four pictures and their captions are drawn.
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
from PIL import Image
from safetensors import safe_open
from torch import Tensor
from wan_director.common.errors import InvalidInputError
from wan_director.dit.adapters import Adapter, AppliedAdapter, ParameterShapes, adapted
from wan_director.model_loading.lora import read_lora
from wan_director.training.captions import MOTION_PHRASES, full_caption
from wan_director.training.detector import Finding, detect
from wan_director.training.evaluate import AT_ONCE, DemoModel, Trial
from wan_director.training.scenes import (
    MOTIONS,
    SHAPES,
    SPEEDS,
    TAUGHT_BACKGROUNDS,
    TAUGHT_COLOURS,
    Scene,
    place,
    render,
    sample_scene,
)

from .motion import save_strip

FRAMES = 17
SHOWN = (("circle", "big"), ("square", "big"), ("triangle", "big"), ("circle", "small"))
"""Shape and size of the four pictures."""

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


def taught(shape: str, motion: str, rng: np.random.Generator, size: str = "big") -> Scene:
    """A shape in the two colours, at a place of chance."""
    ((colour, rgb),), ((background, behind),) = TAUGHT_COLOURS.items(), TAUGHT_BACKGROUNDS.items()
    speed = SPEEDS[int(rng.integers(len(SPEEDS)))]
    here = (0.5, 0.5)
    return place(Scene(colour, background, shape, motion, speed, size, rgb, behind, here, here, (0.1, 0.1)), rng)


def with_trigger(count: int, seed: int, trigger: str) -> Prompted:
    """Shapes in the two colours that move, rest, grow or shrink."""
    rng = np.random.default_rng(seed)
    scenes = [taught(str(rng.choice(SHAPES)), str(rng.choice(MOTIONS)), rng) for _ in range(count)]
    return Prompted(scenes, [f"a {trigger} {scene.shape} {MOTION_PHRASES[scene.motion][0]}" for scene in scenes])


def without_trigger(count: int, seed: int) -> Prompted:
    """Scenes of the kind that the model knows, held out of its training."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, held_out=True) for _ in range(count)]
    return Prompted(scenes, [full_caption(scene, rng) for scene in scenes])


def judged(model: DemoModel, prompted: Prompted, trial: Trial, adapter: Adapter | None) -> Row:
    """Samples the prompts, with or without what was learned, from the same noise."""
    clips = []
    with nullcontext() if adapter is None else adapted(model.t2v, [AppliedAdapter(adapter)]):
        for start in range(0, len(prompted.prompts), AT_ONCE):
            some = prompted.prompts[start : start + AT_ONCE]
            clips.append(model.generate(trial, some, torch.empty(0), trial.seed * 1000 + start))
    whole = torch.cat(clips)
    return Row(prompted.scenes, [detect(clip, taught=True) for clip in whole], whole)


def read(model: DemoModel, path: Path) -> tuple[Adapter, str]:
    """What a file changes, and the trigger that stands in it."""
    with safe_open(path, "pt") as file:
        trigger = (file.metadata() or {}).get("wan_director.trigger")
    if not trigger:
        raise InvalidInputError(f"{path.name} names no trigger. Give a file of `wan-director train` with one.")
    return read_lora(path, ParameterShapes.of(model.t2v), model=None).adapter, trigger


def rows(model: DemoModel, path: Path, count: int, seed: int) -> Iterator[tuple[str, Row]]:
    """Each row of the table, by its name."""
    adapter, trigger = read(model, path)
    asked, known = with_trigger(count, seed, trigger), without_trigger(2 * count, seed + 1)
    for name, prompted, number in (("trigger", asked, seed + 2), ("no trigger", known, seed + 3)):
        for which, learned in (("base", None), ("LoRA", adapter)):
            yield f"{name}, {which}", judged(model, prompted, Trial("", count, FRAMES, seed=number), learned)


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


def draw(folder: Path, trigger: str = "sks") -> None:
    """Writes the four pictures of 64x64 with their captions: what is named is not learned, so no colour is."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    for shape, size in SHOWN:
        picture = render([taught(shape, "still", rng, size)], 1, 64, 64)[0, :, 0]
        pixels = ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{size}_{shape}.png")
        (folder / f"{size}_{shape}.txt").write_text(f"a {trigger} {shape}\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--pictures":
        draw(Path(sys.argv[2]))
    else:
        measure(Path(sys.argv[1]), *map(int, sys.argv[2:]))
