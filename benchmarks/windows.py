"""How clips far longer than the bundled model was trained for hold together, made in windows of several kinds.

    python -m wan_director.benchmarks.windows [CLIPS] [SEED] [FRAMES] [ROW ...]

Text to video, windows of 33 frames that share 16. The same scenes and noise in every row. Right: in each of five parts
of a clip. Still: how many clips that are to stay still do, in the whole clip. Way: between the object's places in the
first and the last frame, as a part of the side. Drift: between the background's colours of the first and the last
quarter, as a distance in RGB. Joints: how far the object's speed changes from frame to frame where a window begins or
ends, by how far it does elsewhere. Of each row, some clips are written into the folder of temporary files, to be looked
at.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.noise import seeded_noise
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.windows import WHOLE_CLIP, ClipShape, SlidingWindows
from wan_director.sampling.windows.blending import linear
from wan_director.sampling.windows.placing import moving_starts
from wan_director.sampling.windows.repeated_noise import fresh_noise
from wan_director.training.captions import MOTION_PHRASES, WAN_NEGATIVE
from wan_director.training.detector import detect
from wan_director.training.evaluate import DemoModel
from wan_director.training.scenes import Scene, sample_scene

from .motion import save_strip

SIZE, OVERLAP, STEPS, CFG_SCALE, SHIFT, SIDE, AT_ONCE = 9, 4, 8, 3.0, 5.0, 64, 12
PLAIN = SlidingWindows(SIZE, OVERLAP)
ROWS = {
    "whole clip": WHOLE_CLIP,
    "as the node comes": PLAIN,
    "fresh noise": SlidingWindows(SIZE, OVERLAP, noising=fresh_noise),
    "linear": SlidingWindows(SIZE, OVERLAP, blend=linear),
    "moving": SlidingWindows(SIZE, OVERLAP, placing=moving_starts),
    "whole above .8": SlidingWindows(SIZE, OVERLAP, from_sigma=0.8),
    "frame before": SlidingWindows(SIZE, OVERLAP, sees_one_before=True),
}
SPEED = {"still": "", "right": " slowly", "left": " slowly"}


def scenes(count: int, seed: int) -> list[Scene]:
    """Half of them stay still, half move to a side."""
    rng, found = np.random.default_rng(seed), []
    wanted = {"still": count - count // 2, "side": count // 2}
    while len(found) < count:
        scene = sample_scene(rng, held_out=True, aspect=1.0)
        kind = {"still": "still", "right": "side", "left": "side"}.get(scene.motion, "")
        if wanted.get(kind):
            wanted[kind] -= 1
            found.append(scene)
    return found


def caption(scene: Scene) -> str:
    motion = MOTION_PHRASES[scene.motion][0] + SPEED[scene.motion]
    return f"a {scene.colour} {scene.shape} {motion} on a {scene.background} background"


def track(clip: Tensor) -> Tensor:
    """Of a clip [3, F, H, W] in -1..1, the object's centre in each frame, in sides: [F, 2]."""
    colours = (clip - clip.flatten(1).median(1).values[:, None, None, None]).norm(dim=0)
    mask = (colours > 0.3).float()
    rows, columns = (torch.arange(size) + 0.5 for size in mask.shape[1:])
    area = mask.sum((1, 2)).clamp(min=1e-6)
    return torch.stack([mask.sum(1) @ columns / area / mask.shape[2], mask.sum(2) @ rows / area / mask.shape[1]], 1)


def joints(frames: int, latent_frames: int) -> Tensor:
    """[F], bool: within two frames of where a window of the usual kind begins or ends."""
    cuts = PLAIN.cuts(ClipShape(latent_frames, 1, 1), make_schedule("simple", 1, 1.0).levels[0])
    edges = [4 * edge for cut in cuts for edge in (cut.start, cut.stop - 1) if 0 < edge < latent_frames - 1]
    places = torch.arange(frames)
    return torch.stack([(places - edge).abs() <= 2 for edge in edges]).any(0) if edges else places < 0


def generate(model: DemoModel, windows: object, shown: list[Scene], frames: int, seed: int) -> Tensor:
    """Clips [B, 3, F, H, W] in -1..1."""
    positive = Conditioning(torch.cat([model.encode_text(caption(scene)) for scene in shown]))
    negative = Conditioning(model.encode_text(WAN_NEGATIVE))
    denoiser = Denoiser(model.t2v, positive, negative, CFG(CFG_SCALE), windows=windows)
    shape = (16, 1 + (frames - 1) // 4, SIDE // 8, SIDE // 8)
    schedule, solver = make_schedule("simple", STEPS, SHIFT), SOLVERS["euler"]
    noise = windows.noise(seeded_noise(seed, shape, len(shown)), seed, 0)
    start = begin(solver, schedule, torch.zeros(len(shown), *shape), seed=seed, noise=noise)
    *_, state = sample(denoiser, solver, schedule, start)
    return model.vae.decode(TINY.denormalize(state.latent)).clamp(-1, 1)


@torch.no_grad()
def main(count: int = 24, seed: int = 41, frames: int = 97, rows: Iterable[str] = tuple(ROWS)) -> None:
    torch.set_num_threads(1)
    model = DemoModel(Path(__file__).resolve().parents[1] / "models")
    shown, edges = scenes(count, seed), joints(frames, 1 + (frames - 1) // 4)
    print(f"{frames} frames, n = {count}, seed {seed}")
    print(f"{'':18} colour backgr shape  still  way still  way side   drift  joints")
    for name in rows:
        clips = torch.cat([
            generate(model, ROWS[name], shown[begun : begun + AT_ONCE], frames, seed * 1000 + begun)
            for begun in range(0, count, AT_ONCE)
        ])  # fmt: skip
        report(name, clips, shown, edges)
        save_strip(clips[:3, :, ::4], Path(tempfile.gettempdir()) / f"windows_{name.replace(' ', '_')}.png")


def report(name: str, clips: Tensor, shown: list[Scene], edges: Tensor) -> None:
    parts = [[detect(part) for part in clip.split(-(-clip.shape[1] // 5), dim=1)] for clip in clips]
    right = [
        100.0 * np.mean([all(getattr(part, each) == getattr(scene, each) for part in found)
                         for found, scene in zip(parts, shown)])
        for each in ("colour", "background", "shape")
    ]  # fmt: skip
    tracks = [track(clip) for clip in clips]
    is_still = [scene.motion == "still" for scene in shown]
    still = 100.0 * np.mean([detect(clip).motion == "still" for clip, stays in zip(clips, is_still) if stays])
    ways = {kind: np.mean([float((t[-1] - t[0]).norm()) for t, stays in zip(tracks, is_still) if stays == kind])
            for kind in (True, False)}  # fmt: skip
    quarter = clips.shape[2] // 4
    first, last = (
        ((part + 1) / 2).flatten(2).median(2).values for part in (clips[:, :, :quarter], clips[:, :, -quarter:])
    )
    drift = float((first - last).norm(dim=1).mean())
    changes = torch.stack([t.diff(n=2, dim=0).norm(dim=1) for t in tracks])  # [B, F - 2]
    at = edges[1:-1]
    ratio = float(changes[:, at].mean() / changes[:, ~at].mean().clamp(min=1e-9)) if at.any() else float("nan")
    figures = "".join(f"{value:7.0f}" for value in (*right, still))
    print(f"{name:18}{figures}  {ways[True]:9.3f} {ways[False]:9.3f} {drift:7.3f} {ratio:7.2f}", flush=True)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each.isdecimal()]
    named = [each for each in sys.argv[1:] if each in ROWS]
    main(*numbers, **({"rows": named} if named else {}))
