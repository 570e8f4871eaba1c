"""How well finished miniatures follow what they are given, beside models that have not learned it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import VAE
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance.cfg import CFG
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.training.captions import WAN_NEGATIVE, full_caption
from wan_director.training.detector import nearest
from wan_director.training.export import FILES
from wan_director.training.scenes import BACKGROUNDS, COLOURS, Scene
from wan_director.training.variants.clips import Clips, Encoders
from wan_director.training.variants.lesson import Lesson

CLIPS, AT_ONCE = 16, 16
STEPS, SHIFT, GUIDANCE = 20, 5.0, 2.0
_TEXT = 512
_APART = 0.25
"""RGB distance from the background's colour from which on a pixel belongs to the shape."""


def judge(lesson: Lesson, models: Path) -> dict[str, tuple[float, float]]:
    """What was measured -> before and after the training: means over clips that are held out of it."""
    before, after = (scores(lesson, model, models) for model in (lesson.begin(models), lesson.finished(models)))
    return {name: (before[name], after[name]) for name in after}


def scores(lesson: Lesson, model: WanDiT, models: Path, count: int = CLIPS) -> dict[str, float]:
    """Means over so many clips that one model makes, always the same ones."""
    encoders = Encoders(models)
    return made_scores(lesson, model, encoders, lesson.draw(encoders, np.random.default_rng(91), count, True), models)


def made_scores(lesson: Lesson, model: WanDiT, encoders: Encoders, clips: Clips, models: Path) -> dict[str, float]:
    """The scores of what one model makes of clips."""
    found: list[dict[str, float]] = []
    for first in range(0, len(clips.scenes), AT_ONCE):
        part = clips.picked(list(range(first, min(first + AT_ONCE, len(clips.scenes)))))
        video = made(lesson, model, encoders, part, models, seed=first)
        found += [
            lesson.score(scene, clip, {n: p[i] for n, p in part.parts.items()})
            for i, (scene, clip) in enumerate(zip(part.scenes, video))
        ]
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


@torch.no_grad()
def made(lesson: Lesson, model: WanDiT, encoders: Encoders, clips: Clips, models: Path, *, seed: int) -> Tensor:
    """Videos [B, 3, F, H, W] in 0..1 by the sampler of the pack, with everything that the lesson gives."""
    rng, items, clean = np.random.default_rng(seed), lesson.items(clips, None), lesson.clean(clips)
    sides = [[full_caption(scene, rng) for scene in lesson.told(clips.scenes, rng)], [WAN_NEGATIVE] * len(clips.scenes)]
    positive, negative = (Conditioning(encoders.read(side, _TEXT), items) for side in sides)
    denoiser = Denoiser(model.eval(), positive, negative, CFG(GUIDANCE))
    solver, schedule = SOLVERS["euler"], make_schedule("simple", STEPS, SHIFT)
    latent = torch.zeros_like(clean)
    for state in sample(denoiser, solver, schedule, begin(solver, schedule, latent, seed=seed), lesson.shown(clips)):
        latent = state.latent
    vae = load(VAE, models / FILES["vae"]).module
    video = vae.decode(TINY.denormalize(lesson.video_of(latent)))
    return ((video + 1) / 2).clamp(0, 1)


def place_of(video: Tensor) -> Tensor:
    """Where the shape of a video [3, F, H, W] in 0..1 is, whatever its colour: [F, H, W]."""
    background = video.flatten(1).median(1).values
    return (video - background[:, None, None, None]).square().sum(0).sqrt() > _APART


def overlap(place: Tensor, wanted: Tensor) -> float:
    """Intersection over union of two places [F, H, W], over all frames."""
    return float((place & wanted).sum() / (place | wanted).sum().clamp(min=1))


def has_colours(video: Tensor, scene: Scene) -> float:
    """1 if shape and background have the colours of a scene, else 0."""
    place = place_of(video)
    if place.sum() < 9:
        return 0.0
    colour = torch.stack([channel[place].median() for channel in video])
    background = torch.stack([channel[~place].median() for channel in video])
    return float((nearest(colour, COLOURS), nearest(background, BACKGROUNDS)) == (scene.colour, scene.background))
