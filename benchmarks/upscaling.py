"""What tiles do to clips of the bundled model's world that are made twice as large.

    python -m wan_director.benchmarks.upscaling [CLIPS] [SEED] [ROW ...]

Drawn clips of 17 frames of 64 x 64, enlarged to 128 x 128 by bicubic, encoded, and drawn anew with a little noise: as a
whole, or in tiles of 64 pixels. The same scenes are drawn with 128 pixels, too, which is the truth. PSNR: against it,
in dB. Right: colour, shape, motion and background, all of them, in per cent. Place: intersection over union of the
object with where it was drawn. Second: per cent of clips in which something else than the background covers more than
0.5 per cent of a frame at more than 8 pixels from the object. Seam: how much more neighbours differ across the lines
where tiles begin and end than elsewhere, beside the object, in thousandths of the whole range: tiles that show have
more than `encoded` has.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.common.shapes import PictureSize
from wan_director.engine.enlarging import Bicubic
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.windows import WHOLE_CLIP, SpatialTiles, TileSide, Windows
from wan_director.training.detector import detect
from wan_director.training.scenes import Scene, coverage, render

from .editing import ATTRIBUTES, Editor, place, scenes
from .motion import save_strip

FRAMES, SMALL, LARGE, SEED = 17, 64, 128, 91
STRIDE = 8
LINES = (32, 64, 96)
"""Where tiles of 64 pixels that share 32 begin and end."""


def tiles(size: int, overlap: int) -> SpatialTiles:
    side = TileSide(size // STRIDE, overlap // STRIDE)
    return SpatialTiles(side, side)


@dataclass(frozen=True, slots=True)
class Row:
    """How to draw anew."""

    windows: Windows
    denoise: float = 0.25
    shift: float = 5.0
    cfg: float = 3.0
    steps: int = 8


HALF, APART = tiles(64, 32), tiles(64, 0)
ROWS = {
    "whole, 0.15": Row(WHOLE_CLIP, 0.15),
    "whole, 0.25": Row(WHOLE_CLIP),
    "whole, 0.5": Row(WHOLE_CLIP, 0.5),
    "tiles, 0.15": Row(HALF, 0.15),
    "tiles, 0.25": Row(HALF),
    "tiles, 0.25, cfg 1": Row(HALF, cfg=1.0),
    "tiles, 0.25, shift 3": Row(HALF, shift=3.0),
    "tiles, 0.5": Row(HALF, 0.5),
    "tiles, no overlap, 0.25": Row(APART),
}


def drawn_anew(editor: Editor, latent: Tensor, asked: Sequence[Scene], row: Row) -> Tensor:
    """The latent after the run."""
    denoiser = Denoiser(editor.model.t2v, editor.texts(asked), editor.negative, CFG(row.cfg), windows=row.windows)
    schedule, solver = make_schedule("simple", row.steps, row.shift, row.denoise), SOLVERS["euler"]
    *_, state = sample(denoiser, solver, schedule, begin(solver, schedule, latent, seed=SEED))
    return state.latent


def seam(clips: Tensor, drawn: Tensor) -> float:
    """How much more neighbours differ across the lines of tiles than elsewhere, where neither belongs to the object."""
    beside = beside_object(drawn)[:, None].expand(-1, 3, -1, -1, -1)
    found: list[float] = []
    for dim in (-2, -1):
        steps = (clips.diff(dim=dim) / 2).abs().movedim(dim, -1)
        seen = beside.unfold(dim, 2, 1).all(-1).movedim(dim, -1)
        on = torch.zeros(steps.shape[-1], dtype=torch.bool)
        on[[line - 1 for line in LINES]] = True
        found.append(float(steps[seen & on].mean() - steps[seen & ~on].mean()))
    return 1000 * sum(found) / len(found)


def beside_object(drawn: Tensor) -> Tensor:
    """Which pixels [..., F, H, W] are more than 8 pixels from the drawn object [..., F, H, W]."""
    frames = (drawn > 0).float().flatten(0, -3)[:, None]
    return (F.max_pool2d(frames, 17, 1, 8)[:, 0] == 0).unflatten(0, drawn.shape[:-2])


def has_second(clip: Tensor, drawn: Tensor) -> bool:
    """Whether something beside the drawn object [F, H, W] stands in a clip [3, F, H, W]."""
    video = (clip + 1) / 2
    background = video.flatten(1).median(1).values[:, None, None, None]
    differs = (video - background).square().sum(0).sqrt() > 0.30
    return bool(((differs & beside_object(drawn)).float().mean((1, 2)) > 0.005).any())


def psnr(clips: Tensor, truth: Tensor) -> float:
    error = ((clips - truth) / 2).square().flatten(1).mean(1)
    return float((-10 * error.log10()).mean())


def told(name: str, clips: Tensor, asked: Sequence[Scene], truth: Tensor, drawn: Tensor) -> str:
    found = [detect(clip) for clip in clips]
    right = [all(getattr(one, each) == getattr(scene, each) for each in ATTRIBUTES) for one, scene in zip(found, asked)]
    places = [place(*pair) for pair in zip(clips, drawn)]
    second = [has_second(*pair) for pair in zip(clips, drawn)]
    values = (100 * np.mean(right), np.mean(places), 100 * np.mean(second), seam(clips, drawn))
    return f"{name:24}{psnr(clips, truth):8.1f}{values[0]:8.0f}{values[1]:9.3f}{values[2]:9.0f}{values[3]:+10.2f}"


@torch.no_grad()
def main(count: int = 12, seed: int = 4712, *rows: str) -> None:
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="upscaling_"))
    editor, asked = Editor(), scenes(count, seed)
    small, truth = (render(asked, FRAMES, side, side) for side in (SMALL, LARGE))
    drawn = coverage(asked, FRAMES, LARGE, LARGE)
    large = torch.cat([Bicubic(PictureSize(LARGE, LARGE))((each[None] + 1) / 2) * 2 - 1 for each in small])
    latent = TINY.normalize(editor.model.vae.encode(large))
    print(f"{'n = ' + str(count):24}{'PSNR':>8}{'right':>8}{'place':>9}{'second':>9}{'seam':>10}")
    for name, clips in (("truth", truth), ("bicubic", large), ("encoded", editor.shown(latent))):
        print(told(name, clips, asked, truth, drawn), flush=True)
        save_strip(clips[:6], folder / f"{name}.png")
    for name, row in ROWS.items():
        if rows and name not in rows:
            continue
        clips = torch.cat(
            [editor.shown(drawn_anew(editor, latent[at : at + 1], asked[at : at + 1], row)) for at in range(count)]
        )
        print(told(name, clips, asked, truth, drawn), flush=True)
        save_strip(clips[:6], folder / f"{name.replace(', ', '_').replace(' ', '_')}.png")
    print(f"clips: {folder}")


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3]), *sys.argv[3:])
