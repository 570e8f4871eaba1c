"""What an edit by words changes in clips of the bundled model's world, and what it leaves alone.

    python -m wan_director.benchmarks.editing [CLIPS] [SEED] [ROW ...]

Drawn clips of 17 frames, encoded, whose object gets another colour by FlowEdit; the same scenes and noise in every row.
Right: colour, shape, motion, background, all of them, in per cent. Place: intersection over union of the object with
where it was drawn, mean of the frames. Background: PSNR against the drawn clip, in dB, where neither the drawn object
nor a border of 4 pixels around it is; and how much of the mask lies on the object. `drawn` is the VAE alone. `chain`
changes the colour, then the background, then the shape, from latent to latent, and tells of each clip so far. `first`
carries a first frame with the new colour on by the image-to-video model: sampled (`denoise`), or edited beside the clip
with its own first frame; the frame is drawn, or edited by words as a clip of one frame. Of each row, some clips are
written into the folder of temporary files, to be looked at.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.editing import (
    MASK_SIGMA,
    EditedClip,
    NegativeAlone,
    begin_edit,
    disagreement,
    edit,
    mask_of,
)
from wan_director.sampling.guidance import CFG
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.noise import step_noise
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.training.captions import MOTION_PHRASES, WAN_NEGATIVE
from wan_director.training.detector import COLOUR_LIMIT, detect
from wan_director.training.evaluate import DemoModel, Trial
from wan_director.training.scenes import BACKGROUNDS, COLOURS, SHAPES, Scene, contrast, coverage, render, sample_scene

from .motion import save_strip

FRAMES, SIDE, STEPS, SHIFT, SEED = 17, 64, 14, 5.0, 71
ATTRIBUTES = ("colour", "shape", "motion", "background")


@dataclass(frozen=True, slots=True)
class Row:
    """How to edit; `mask`: off, words (found), object (drawn), or the parts of a chain of edits with it."""

    strength: float = 0.6
    mask: str = "off"
    cfg: float = 4.0
    source_cfg: float = 1.5
    has_source: bool = True
    steps: int = STEPS


ROWS = {
    **{f"strength {strength:g}": Row(strength) for strength in (0.35, 0.5, 0.6, 0.7, 0.85)},
    "words, strength 0.5": Row(0.5, "words"),
    "words": Row(mask="words"),
    "words, strength 0.7": Row(0.7, "words"),
    "object": Row(mask="object"),
    "no source": Row(has_source=False),
    "no source, words": Row(has_source=False, mask="words"),
    "cfg 3, source 3": Row(cfg=3.0, source_cfg=3.0),
    "cfg 6": Row(cfg=6.0),
    "30 steps, strength 0.35": Row(0.35, steps=30),
    "30 steps": Row(steps=30),
    "30 steps, words": Row(mask="words", steps=30),
    "30 steps, object, 0.35": Row(0.35, "object", steps=30),
}


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """How a first frame is carried on; `denoise`: sampled from that much noise, None: edited."""

    denoise: float | None = None
    strength: float = 0.7
    cfg: float = 1.0
    frame: str = "drawn"


FIRST_FRAMES = {
    "first, from noise": FirstFrame(1.0, cfg=2.0),
    "first, denoise 0.7": FirstFrame(0.7, cfg=2.0),
    **{f"first, strength {strength:g}": FirstFrame(strength=strength) for strength in (0.35, 0.5, 0.7, 1.0)},
    "first, cfg 2": FirstFrame(cfg=2.0),
    "first, cfg 2, 0.5": FirstFrame(cfg=2.0, strength=0.5),
    "first by words": FirstFrame(frame="words"),
    "first by words, cfg 2": FirstFrame(frame="words", cfg=2.0),
}
CHAINS = {"chain": Row(), "chain, words": Row(mask="words")}


def scenes(count: int, seed: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, held_out=True) for _ in range(count)]


def another(names: Sequence[str], rng: np.random.Generator, beside: str, taken: Sequence[str]) -> str:
    """A colour that can be told from the one beside it, and from those that a clip had."""
    told = [name for name in names if contrast_of(name, beside) > 2 * COLOUR_LIMIT and name not in taken]
    return told[int(rng.integers(len(told)))]


def contrast_of(first: str, second: str) -> float:
    return contrast(first, second) if first in COLOURS else contrast(second, first)


def wishes(scene: Scene, rng: np.random.Generator) -> list[Scene]:
    """The scene with another colour; then with another background, too; then with another shape, too."""
    colour = another(tuple(COLOURS), rng, scene.background, (scene.colour, scene.background))
    background = another(tuple(BACKGROUNDS), rng, colour, (scene.background, colour))
    shape = next(name for name in np.roll(SHAPES, int(rng.integers(3))) if name != scene.shape)
    first = replace(scene, colour=colour)
    second = replace(first, background=background)
    return [first, second, replace(second, shape=str(shape))]


def caption(scene: Scene) -> str:
    return f"a {scene.colour} {scene.shape} {MOTION_PHRASES[scene.motion][0]} on a {scene.background} background"


class Editor:
    """The bundled model as it edits."""

    def __init__(self) -> None:
        self.model = DemoModel(Path(__file__).resolve().parents[1] / "models")
        self.negative = Conditioning(self.model.encode_text(WAN_NEGATIVE))

    def texts(self, asked: Sequence[Scene]) -> Conditioning:
        return Conditioning(torch.cat([self.model.encode_text(caption(scene)) for scene in asked]))

    def edited(
        self, latent: Tensor, before: Sequence[Scene], after: Sequence[Scene], row: Row, mask: Tensor | None, seed: int
    ) -> tuple[Tensor, Tensor]:
        """The edited latent and the mask."""
        target = Denoiser(self.model.t2v, self.texts(after), self.negative, CFG(row.cfg))
        guidance = CFG(row.source_cfg) if row.has_source else NegativeAlone()
        source = Denoiser(self.model.t2v, self.texts(before), self.negative, guidance, name="source")
        whole = make_schedule("simple", row.steps, SHIFT)
        schedule = whole.last_steps(round(row.strength * row.steps))
        ones = torch.ones(1, 1, *latent.shape[2:])
        if row.mask == "words":
            level = schedule.levels[0].moved(MASK_SIGMA)
            clip = EditedClip(latent, ones)
            mask = mask_of(list(disagreement(target.start, source.start, clip, level, step_noise(seed))))
        mask = ones if mask is None else mask
        *_, state = edit(
            target.start, source.start, schedule, begin_edit(schedule, latent, seed=seed), EditedClip(latent, mask)
        )
        return state.latent, mask

    def with_first(self, asked: Sequence[Scene], clips: Tensor) -> tuple[Conditioning, Conditioning]:
        """Positive and negative for the image-to-video model, with the first frames of some clips."""
        items = self.model.image_items(Trial("", len(clips), given=(0,)), clips)
        return replace(self.texts(asked), items=items), replace(self.negative, items=items)

    def carried_on(
        self,
        latent: Tensor,
        before: Sequence[Scene],
        after: Sequence[Scene],
        clips: tuple[Tensor, Tensor],
        row: FirstFrame,
    ) -> Tensor:
        """The latent that begins with the first frames of the second clips; those of the first are the clip's own."""
        schedule = make_schedule("simple", STEPS, SHIFT)
        target = Denoiser(self.model.i2v, *self.with_first(after, clips[1]), CFG(row.cfg))
        if row.denoise is not None:
            if row.denoise < 1:
                schedule = schedule.last_steps(round(row.denoise * STEPS))
            given = latent if row.denoise < 1 else torch.zeros_like(latent)
            start = begin(SOLVERS["euler"], schedule, given, seed=SEED)
            *_, state = sample(target, SOLVERS["euler"], schedule, start)
            return state.latent
        source = Denoiser(self.model.i2v, *self.with_first(before, clips[0]), CFG(1.0), name="source")
        schedule = schedule.last_steps(round(row.strength * STEPS))
        whole = EditedClip(latent, torch.ones(1, 1, *latent.shape[2:]))
        *_, state = edit(target.start, source.start, schedule, begin_edit(schedule, latent, seed=SEED), whole)
        return state.latent

    def shown(self, latent: Tensor) -> Tensor:
        return self.model.vae.decode(TINY.denormalize(latent)).clamp(-1, 1)


def drawn_mask(scenes: Sequence[Scene]) -> Tensor:
    """The latent pixels that the objects touch, [B, 1, T, h, w]."""
    touched = (coverage(list(scenes), FRAMES, SIDE, SIDE) > 0)[:, None].float()
    first, rest = touched[:, :, :1], touched[:, :, 1:]
    pooled = [F.max_pool3d(first, (1, 8, 8)), F.max_pool3d(rest, (4, 8, 8))]
    return torch.cat(pooled, dim=2)


def place(clip: Tensor, drawn: Tensor) -> float:
    """Intersection over union of the object in a clip [3, F, H, W] with a drawn one [F, H, W]."""
    video = (clip + 1) / 2
    background = video.flatten(1).median(1).values[:, None, None, None]
    distance = (video - background).square().sum(0).sqrt()
    core = distance > 0.30
    if core.sum() < 9:
        return 0.0
    colour = torch.stack([channel[core].median() for channel in video])[:, None, None, None]
    axis = (colour - background) / (colour - background).square().sum()
    alpha = ((video - background) * axis).sum(0).clamp(0, 1)
    union = torch.maximum(alpha, drawn).sum((1, 2))
    return float((torch.minimum(alpha, drawn).sum((1, 2)) / union).mean())


def background_db(clip: Tensor, truth: Tensor, drawn: Tensor) -> float:
    beside = F.max_pool2d((drawn > 0).float()[:, None], 9, 1, 4)[:, 0] == 0
    error = ((clip - truth) / 2).square().mean(0)[beside].mean()
    return float(-10 * error.log10())


def told(name: str, clips: Tensor, asked: Sequence[Scene], truth: Tensor, drawn: Tensor, mask: Tensor | None) -> str:
    found = [detect(clip) for clip in clips]

    def share(names: Sequence[str]) -> float:
        right = [
            all(getattr(each, name) == getattr(scene, name) for name in names) for each, scene in zip(found, asked)
        ]
        return 100 * float(np.mean(right))

    values = [share((attribute,)) for attribute in ATTRIBUTES] + [share(ATTRIBUTES)]
    places = float(np.mean([place(*pair) for pair in zip(clips, drawn)]))
    beside = float(np.mean([background_db(*each) for each in zip(clips, truth, drawn)]))
    part = "" if mask is None else f"   {100 * float(mask.mean()):4.0f} % of the clip"
    return f"{name:22}" + "".join(f"{value:8.0f}" for value in values) + f"   {places:.3f}   {beside:5.1f}{part}"


def chained(editor: Editor, name: str, row: Row, latent: Tensor, asked: list[list[Scene]], folder: Path) -> None:
    """Three edits in a row, from latent to latent."""
    before = [each[0] for each in asked]
    drawn = coverage(before, FRAMES, SIDE, SIDE)
    for number in (1, 2, 3):
        after = [each[number] for each in asked]
        latent, mask = editor.edited(latent, before, after, row, None, SEED + number)
        clips, before = editor.shown(latent), after
        truth = render(
            [replace(each, background_rgb=BACKGROUNDS[each.background]) for each in after], FRAMES, SIDE, SIDE
        )
        print(told(f"{name}, edit {number}", clips, after, truth, drawn, mask), flush=True)
        save_strip(clips[:6], folder / f"{name.replace(', ', '_')}_{number}.png")


def first_frames(
    editor: Editor, row: FirstFrame, sources: Sequence[Scene], wanted: Sequence[Scene], truth: Tensor
) -> Tensor:
    """Clips [B, 3, 1, H, W] of one frame with the new colours."""
    if row.frame == "drawn":
        new = [replace(scene, colour_rgb=COLOURS[wish.colour]) for scene, wish in zip(sources, wanted)]
        return render(new, FRAMES, SIDE, SIDE)[:, :, :1]
    latent = TINY.normalize(editor.model.vae.encode(truth[:, :, :1]))
    return editor.shown(editor.edited(latent, sources, wanted, Row(), None, SEED)[0])


@torch.no_grad()
def main(count: int = 24, seed: int = 4711, *rows: str) -> None:
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="editing_"))
    editor, rng = Editor(), np.random.default_rng(seed + 1)
    asked = [[scene, *wishes(scene, rng)] for scene in scenes(count, seed)]
    sources, wanted = [each[0] for each in asked], [each[1] for each in asked]
    truth, drawn = render(sources, FRAMES, SIDE, SIDE), coverage(sources, FRAMES, SIDE, SIDE)
    latent = TINY.normalize(editor.model.vae.encode(truth))
    print(
        f"{'n = ' + str(count):22}" + "".join(f"{name[:7]:>8}" for name in (*ATTRIBUTES, "all")) + "   place   backgr."
    )
    shown = editor.shown(latent)
    print(told("drawn", shown, sources, truth, drawn, None), flush=True)
    save_strip(shown[:6], folder / "drawn.png")
    for name, row in ROWS.items():
        if rows and name not in rows:
            continue
        mask = drawn_mask(sources) if row.mask == "object" else None
        made, used = editor.edited(latent, sources, wanted, row, mask, SEED)
        clips = editor.shown(made)
        print(told(name, clips, wanted, truth, drawn, used), flush=True)
        save_strip(clips[:6], folder / f"{name.replace(', ', '_').replace(' ', '_')}.png")
    for name, row in FIRST_FRAMES.items():
        if rows and name not in rows:
            continue
        goal = first_frames(editor, row, sources, wanted, truth)
        clips = editor.shown(editor.carried_on(latent, sources, wanted, (truth, goal), row))
        print(told(name, clips, wanted, truth, drawn, None), flush=True)
        save_strip(clips[:6], folder / f"{name.replace(', ', '_').replace(' ', '_')}.png")
    for name, row in CHAINS.items():
        if not rows or name in rows:
            chained(editor, name, row, latent, asked, folder)
    print(f"clips: {folder}")


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3]), *sys.argv[3:])
