"""How much processor time step caches save with the bundled model, and whether the clips still show what was asked for.

    python -m wan_director.benchmarks.caches [CLIPS] [SEED] [KIND] [FOLDER] > RECORDS

Clips of 30 steps with guidance, the same scenes and noise in every row. Rows take turns, batch by batch, so that each
is measured beside the run without a cache; seconds are of the processor, and a ratio is that of medians.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import RunningDiT
from wan_director.sampling.cache import (
    NO_CACHE,
    BlocksChange,
    Cache,
    MagnitudeRatios,
    OutputChange,
    StepCache,
    TimeEmbedding,
    TransformationRate,
    tally_of,
)
from wan_director.sampling.cache.figures import FIGURES
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG, PartOfSteps
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.training.captions import WAN_NEGATIVE, full_caption
from wan_director.training.detector import detect
from wan_director.training.evaluate import DemoModel, Trial
from wan_director.training.scenes import Scene, render, sample_scene

STEPS, BATCH = 30, 4
TRIALS = {
    "t2v-tiny": Trial("t2v-tiny", 24, steps=STEPS),
    "i2v-tiny": Trial("i2v-tiny", 24, given=(0,), steps=STEPS, cfg=2.0),
}
ATTRIBUTES = ("colour", "background", "shape", "motion")


class Row(NamedTuple):
    """A cache by name, with the threshold it is drawn at."""

    name: str
    threshold: float
    cache: Cache


class Measured(NamedTuple):
    """A batch of a row: clips [B, 3, F, H, W] in -1..1, seconds of the processor, the part of passes spared."""

    clips: Tensor
    seconds: float
    spared: float


def rows(model: str) -> Iterator[Row]:
    """No cache, and each cache at its thresholds."""
    yield Row("none", 0.0, NO_CACHE)
    figures, part = FIGURES[model], PartOfSteps(0.2, 0.95)
    for threshold in (0.05, 0.1, 0.2):
        yield Row("easycache", threshold, StepCache(TransformationRate(), OutputChange(), threshold, part, 3))
    for threshold in (0.06, 0.12, 0.24):
        ratios = MagnitudeRatios(figures.ratios)
        yield Row("magcache", threshold, StepCache(ratios, BlocksChange(), threshold, part, 3))
    for threshold in (0.08,):
        time_embedding = TimeEmbedding(figures.coefficients)
        yield Row("teacache", threshold, StepCache(time_embedding, BlocksChange(), threshold, part, 3))


def _sampled(model: DemoModel, trial: Trial, cache: Cache, seed: int) -> tuple[list[Scene], Measured]:
    rng = np.random.default_rng(seed)
    shown = [sample_scene(rng, held_out=True, aspect=1.0) for _ in range(BATCH)]
    truth = render(shown, trial.frames, trial.height, trial.width)
    items = model.image_items(trial, truth)
    positive = Conditioning(torch.cat([model.encode_text(full_caption(scene, rng)) for scene in shown]), items)
    negative = Conditioning(model.encode_text(WAN_NEGATIVE), items)
    network = model.i2v if trial.given else model.t2v
    running = RunningDiT(network, Execution(may_overwrite=True))
    denoiser = Denoiser(running, positive, negative, CFG(trial.cfg), cache=cache)
    shape = (BATCH, 16, 1 + (trial.frames - 1) // 4, trial.height // 8, trial.width // 8)
    schedule, solver = make_schedule("simple", trial.steps, trial.shift), SOLVERS[trial.solver]
    start = begin(solver, schedule, torch.zeros(shape), seed=seed)
    began = time.process_time()
    *_, state = sample(denoiser, solver, schedule, start)
    seconds = time.process_time() - began
    tally = tally_of(state.cache)
    clips = model.vae.decode(TINY.denormalize(state.latent)).clamp(-1, 1)
    return shown, Measured(clips, seconds, tally.spared / max(tally.asked, 1))


def measure(trial: Trial, batches: int, seed: int, folder: Path | None) -> Iterator[dict[str, Any]]:
    """A record for each row of each batch; the first clip of each row of the first batch as a picture in the folder."""
    model = DemoModel(Path(__file__).resolve().parents[1] / "models")
    for number in range(batches):
        plain: Measured | None = None
        for name, threshold, cache in rows(trial.name):
            shown, made = _sampled(model, trial, cache, seed + number)
            plain = plain or made
            if folder and not number:
                _save_strip(made.clips, folder / f"{name}_{threshold:g}.png")
            yield {
                "kind": trial.name,
                "seed": seed + number,
                "name": name,
                "threshold": threshold,
                "seconds": round(made.seconds, 3),
                "spared": made.spared,
                "right": [_right(clip, scene) for clip, scene in zip(made.clips, shown)],
                "error": float((made.clips - plain.clips).square().mean()),
            }


def _right(clip: Tensor, scene: Scene) -> list[bool]:
    found = detect(clip)
    return [bool(getattr(found, each) == getattr(scene, each)) for each in ATTRIBUTES]


def _save_strip(clips: Tensor, path: Path) -> None:
    """Each clip a row, every fourth frame."""
    frames = ((clips[:, :, ::4] + 1) * 127.5).round().byte()  # [B, 3, F, H, W]
    picture = rearrange(frames, "B C F H W -> (B H) (F W) C")
    Image.fromarray(picture.numpy()).save(path)


@torch.no_grad()
def main(clips: int = 24, seed: int = 4100, kind: str = "t2v-tiny", folder: str = "") -> None:
    torch.set_num_threads(1)
    for record in measure(TRIALS[kind], clips // BATCH, seed, Path(folder) if folder else None):
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3]), *sys.argv[3:])
