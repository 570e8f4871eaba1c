"""Stage 6: samples from the exported files with the pack's own sampler and lets the detector judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.dit.conditioning.clip_image import ClipImage
from wan_director.dit.conditioning.start_image import KeyframeImages, keyframe_mask, keyframe_video
from wan_director.dit.inputs import Conditioning
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import CLIP_VISION, DIT, TEXT_ENCODER, VAE
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance.cfg import CFG
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.text_encoder.clip_vision import encode_image
from wan_director.text_encoder.encode import encode_prompt
from wan_director.training.captions import WAN_NEGATIVE, full_caption
from wan_director.training.detector import Finding, detect
from wan_director.training.export import FILES
from wan_director.training.scenes import Scene, render, sample_scene

AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Trial:
    """One row of the table: `count` held-out scenes at one size, with the frames `given` (-1 is the last)."""

    name: str
    count: int
    frames: int = 17
    height: int = 64
    width: int = 64
    given: tuple[int, ...] = ()
    negative: str = WAN_NEGATIVE
    steps: int = 20
    cfg: float = 3.0
    shift: float = 5.0
    solver: str = "euler"
    clip: bool = True
    seed: int = 777


TRIALS = (
    Trial("T2V", 96),
    Trial("I2V", 96, given=(0,), seed=31, cfg=2.0),
    Trial("first+last", 96, given=(0, -1), seed=41, cfg=2.0),
    Trial("T2V 128x128", 48, height=128, width=128, seed=51),
    Trial("T2V, other seed", 96, seed=2024),
    Trial("T2V 33 frames", 48, frames=33, seed=52),
    Trial("T2V, empty negative", 48, negative="", seed=5),
    Trial("T2V, unipc", 48, solver="unipc", seed=6),
    Trial("T2V 9 frames", 32, frames=9, seed=53),
    Trial("I2V, no CLIP", 32, given=(0,), clip=False, seed=32, cfg=2.0),
    Trial("T2V 96x96", 32, height=96, width=96, seed=54),
    Trial("T2V 64x96", 32, height=64, width=96, seed=55),
    Trial("I2V 128x128", 16, height=128, width=128, given=(0,), seed=57, cfg=2.0),
    Trial("one picture", 96, frames=1, seed=58),
    Trial("one picture 128x128", 48, frames=1, height=128, width=128, seed=59),
    Trial("T2V 33x96x96", 16, frames=33, height=96, width=96, seed=56),
)


class DemoModel:
    """The exported files, loaded as a user's graph loads them."""

    def __init__(self, models: Path):
        self.vae = load(VAE, models / FILES["vae"]).module
        self.t2v = load(DIT, models / FILES["t2v"]).module
        self.i2v = load(DIT, models / FILES["i2v"]).module
        text = load(TEXT_ENCODER, models / FILES["text_encoder"])
        self.encode_text: Callable[[str], Tensor] = lambda prompt: encode_prompt(text.module, text.tokenizer, prompt)
        self.clip = load(CLIP_VISION, models / FILES["clip_vision"]).module

    @torch.no_grad()
    def generate(self, trial: Trial, prompts: list[str], truth: Tensor, seed: int) -> Tensor:
        """Videos [B, 3, F, H, W] in -1..1 for the prompts; the trial's given frames are taken from `truth`."""
        items = self.image_items(trial, truth)
        positive = Conditioning(torch.cat([self.encode_text(prompt) for prompt in prompts]), items)
        negative = Conditioning(self.encode_text(trial.negative), items)
        model = self.i2v if trial.given else self.t2v
        denoiser = Denoiser(model, positive, negative, CFG(trial.cfg))
        shape = (len(prompts), 16, 1 + (trial.frames - 1) // 4, trial.height // 8, trial.width // 8)
        schedule = make_schedule("simple", trial.steps, trial.shift)
        solver = SOLVERS[trial.solver]
        start = begin(solver, schedule, torch.zeros(shape), seed=seed)
        for state in sample(denoiser, solver, schedule, start):
            latent = state.latent
        return self.vae.decode(TINY.denormalize(latent)).clamp(-1, 1)

    def image_items(self, trial: Trial, truth: Tensor) -> tuple:
        """What the trial's given frames of clips [B, 3, F, H, W] are to the model; only those frames are read."""
        if not trial.given:
            return ()
        held = torch.cat([keyframe_video({i: clip[:, i] for i in trial.given}, trial.frames) for clip in truth])
        mask = keyframe_mask(trial.given, trial.frames, trial.height // 8, trial.width // 8)
        items = [KeyframeImages(TINY.normalize(self.vae.encode(held)), mask)]
        if trial.clip and 0 in trial.given:
            pictures = ((truth[:, :, 0] + 1) / 2).movedim(1, -1)
            items.append(ClipImage(encode_image(self.clip, pictures).penultimate_hidden_states))
        return tuple(items)


@dataclass(frozen=True, slots=True)
class Score:
    """One judged clip: the scene asked for, what the detector saw, PSNR in dB at the trial's given frames."""

    scene: Scene
    finding: Finding
    psnr: tuple[float, ...]

    def right(self, attribute: str) -> bool:
        """Whether the clip shows the scene's `attribute`."""
        return getattr(self.finding, attribute) == getattr(self.scene, attribute)

    @property
    def all_right(self) -> bool:
        """Colour, background, shape and motion."""
        return all(self.right(name) for name in ("colour", "background", "shape", "motion"))


def run_trial(model: DemoModel, trial: Trial) -> tuple[list[Score], Tensor]:
    """Scores of all clips of a trial, and the first batch of videos to look at."""
    rng = np.random.default_rng(trial.seed)
    scores, first = [], None
    for start in range(0, trial.count, AT_ONCE):
        count = min(AT_ONCE, trial.count - start)
        scenes = [sample_scene(rng, held_out=True, aspect=trial.width / trial.height) for _ in range(count)]
        truth = render(scenes, trial.frames, trial.height, trial.width)
        videos = model.generate(trial, [full_caption(scene, rng) for scene in scenes], truth, trial.seed * 1000 + start)
        first = videos if first is None else first
        for scene, video, real in zip(scenes, videos, truth):
            errors = tuple(float(10 * torch.log10(4 / (video[:, i] - real[:, i]).square().mean())) for i in trial.given)
            asked = scene if trial.frames > 1 else replace(scene, motion="still")
            scores.append(Score(asked, detect(video), errors))
    return scores, first


def table_row(trial: Trial, scores: list[Score]) -> str:
    """One line of the printed table."""

    def share(values) -> str:
        values = list(values)
        return f"{100 * sum(values) / len(values):6.1f}" if values else f"{'-':>6}"

    columns = [share(score.right(name) for score in scores) for name in ("colour", "background", "shape", "motion")]
    columns.append(share(score.all_right for score in scores))
    columns.append(share(score.finding.strict_shape == score.scene.shape for score in scores))
    moving = [score for score in scores if score.scene.motion != "still"]
    columns += [share(score.right("speed") for score in moving), share(score.right("size") for score in scores)]
    columns.append(f"{np.mean([score.finding.overlap for score in scores]):6.3f}")
    columns.append(share(score.finding.jump < 0.09 for score in scores))
    psnr = "  ".join(f"{np.mean(values):.1f}" for values in zip(*(score.psnr for score in scores)))
    return f"{trial.name:20} {len(scores):4} " + " ".join(columns) + f"  {psnr}"


HEADING = f"{'':20}    n colour backgr  shape motion  all-4 strict  speed   size    iou smooth  PSNR dB"


def evaluate(rank: int, processes: int, models: Path) -> None:
    """Prints the table of all trials: per cent right, mean overlap with the ideal shape, PSNR at the given frames.

    Process `rank` of `processes` runs every so many-th trial.
    """
    model = DemoModel(models)
    if rank == 0:
        print(HEADING, flush=True)
    for trial in TRIALS[rank::processes]:
        print(table_row(trial, run_trial(model, trial)[0]), flush=True)
