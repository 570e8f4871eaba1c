"""What the halves of a clip of the bundled model show when the prompt changes in its middle, by either method.

    python -m wan_director.benchmarks.travel [CLIPS [FRAMES]]

Two stories: the object turns round (moves right, then left, and so on), and it changes its colour. The same scenes and
noise in every row. Right: both halves show their prompt; the rest: colour or motion, background and shape of the whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.common.shapes import latent_frames
from wan_director.dit.context import TextTravel
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.prompts import PromptPart, Prompts
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.travel import Moment, PromptSchedule
from wan_director.training.captions import MOTION_PHRASES, WAN_NEGATIVE
from wan_director.training.detector import detect
from wan_director.training.evaluate import DemoModel
from wan_director.training.scenes import COLOURS, Scene, sample_scene

STEPS, SCALE, SHIFT, SIDE = 20, 3.0, 5.0, 8
BACK = {"right": "left", "left": "right", "up": "down", "down": "up"}
STORIES = ("turn", "colour")
TRANSITIONS = (0, 8, 16)


def scenes(count: int, seed: int) -> list[Scene]:
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        scene = sample_scene(rng, held_out=True, aspect=1.0)
        found += [scene] if scene.motion in BACK else []
    return found


def halves(scene: Scene, story: str) -> tuple[Scene, Scene]:
    """What the first and the second half of a clip are to show."""
    if story == "turn":
        return scene, replace(scene, motion=BACK[scene.motion])
    names = [name for name in COLOURS if name not in (scene.colour, scene.background)]
    return scene, replace(scene, colour=names[len(names) // 2])


def caption(scene: Scene) -> str:
    return f"a {scene.colour} {scene.shape} {MOTION_PHRASES[scene.motion][0]} on a {scene.background} background"


def sides(texts: Sequence[Tensor], method: str, transition: int, frames: int) -> Conditioning | Prompts:
    """The positive side by a method; `first` and `mixed` are no travel: the first text, and the mean of both."""
    if method == "first":
        return Conditioning(texts[0])
    if method == "mixed":
        return Prompts(tuple(PromptPart(Conditioning(text)) for text in texts))
    schedule = PromptSchedule((Moment(0), Moment(50, "percent")), transition)
    shares = schedule.shares(latent_frames(frames), TINY.fps)
    if method == "attention":
        return Conditioning(texts[0], travel=TextTravel(tuple(texts), shares))
    parts = (PromptPart(Conditioning(text), weight=share.view(1, 1, -1, 1, 1)) for text, share in zip(texts, shares))
    return Prompts(tuple(parts))


def clips_of(model: DemoModel, positive: Conditioning | Prompts, count: int, frames: int) -> Tensor:
    schedule, solver = make_schedule("simple", STEPS, SHIFT), SOLVERS["euler"]
    denoiser = Denoiser(model.t2v, positive, Conditioning(model.encode_text(WAN_NEGATIVE)), CFG(SCALE))
    shape = (count, 16, latent_frames(frames), SIDE, SIDE)
    *_, state = sample(denoiser, solver, schedule, begin(solver, schedule, torch.zeros(shape), seed=91))
    return model.vae.decode(TINY.denormalize(state.latent)).clamp(-1, 1)


def row(clips: Tensor, asked: Sequence[tuple[Scene, Scene]], story: str) -> str:
    """In per cent: first half, second half, both; colour, background, shape, motion; largest jump."""
    middle, told = clips.shape[2] // 2, "motion" if story == "turn" else "colour"
    found = [(detect(clip[:, : middle + 1]), detect(clip[:, middle:])) for clip in clips]
    right = np.array(
        [[getattr(half, told) == getattr(scene, told) for half, scene in zip(*pair)] for pair in zip(found, asked)]
    )
    others = [name for name in ("colour", "background", "shape", "motion") if name != told]
    rest = [
        np.mean(
            [getattr(half, name) == getattr(scene, name) for pair in zip(found, asked) for half, scene in zip(*pair)]
        )
        for name in others
    ]
    jump = np.mean([max(half.jump for half in pair) for pair in found])
    values = (*right.mean(0), right.all(1).mean(), *rest)
    return "".join(f"{100 * value:8.0f}" for value in values) + f"  {jump:.3f}"


@torch.no_grad()
def main(count: int = 24, frames: int = 33) -> None:
    torch.set_num_threads(1)
    model = DemoModel(Path(__file__).resolve().parents[1] / "models")
    for story in STORIES:
        asked = [halves(scene, story) for scene in scenes(count, seed=90)]
        texts = [torch.cat([model.encode_text(caption(pair[half])) for pair in asked]) for half in (0, 1)]
        print(f"{story}: method, transition   first  second    both   and the other three    jump  CPU s (n = {count})")
        plan = [("first", 0), ("mixed", 0)]
        plan += [(method, transition) for transition in TRANSITIONS for method in ("attention", "passes")]
        for method, transition in plan:
            start = time.process_time()
            clips = clips_of(model, sides(texts, method, transition, frames), count, frames)
            seconds = time.process_time() - start
            print(f"{method:12}{transition:4}   {row(clips, asked, story)}  {seconds:.1f}", flush=True)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
