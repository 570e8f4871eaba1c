"""Long videos of the bundled model by extension: do attributes, stillness, colours and joints hold over 97 frames?

    python -m wan_director.benchmarks.extending [VIDEOS] [SEED] [OUTPUT.jsonl]

The first clip is text to video, each later one image to video that is given the last frames of the film so far, as Wan
Extend Video gives them, and joined to it as Wan Join Clips does. Still scenes keep their prompt; moving ones go there
and back, a clip each. The same scenes and noise in every row; colours are changed in still scenes alone. A joint is the
pairs of neighbouring frames around an overlap; its jump is the largest of them, and is compared with runs of as many
pairs inside the clips.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.media.colours import UNCHANGED, ColourShift, match_to, mean_shift
from wan_director.media.joining import BLENDS, Blend, join_clips
from wan_director.training.captions import MOTION_PHRASES
from wan_director.training.detector import detect
from wan_director.training.evaluate import DemoModel, Trial
from wan_director.training.scenes import Scene, sample_scene

FILM = 97
FIRST = Trial("first clip", 24, steps=8, cfg=3.0)
NEXT = Trial("next clip", 24, steps=8, cfg=2.0)
BACK = {"right": "left", "left": "right", "up": "down", "down": "up", "still": "still"}
COLOURS = ("off", "mean", "first clip", "clip before")
"""What becomes of a new clip's colours; the last, mean and deviation of the clip before, is none of the node's."""


@dataclass(frozen=True, slots=True)
class Film:
    """Videos [B, F, H, W, 3] in 0..1, the first frame of each later clip in them, and what each clip was to show."""

    frames: Tensor
    joints: tuple[int, ...]
    clips: tuple[Tensor, ...]
    motions: tuple[tuple[str, ...], ...]


def scenes(count: int, seed: int, motions: tuple[str, ...]) -> list[Scene]:
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        scene = sample_scene(rng, held_out=True, aspect=1.0)
        found += [scene] if scene.motion in motions and (scene.motion == "still" or scene.speed == "slow") else []
    return found


def caption(scene: Scene, motion: str) -> str:
    slowly = "" if motion == "still" else " slowly"
    return f"a {scene.colour} {scene.shape} {MOTION_PHRASES[motion][0]}{slowly} on a {scene.background} background"


def colours_of(choice: str, film: Tensor, first: Tensor, clip: Tensor, overlap: int) -> ColourShift:
    """What happens to the colours of one clip [F, H, W, 3] of a video."""
    if choice == "mean":
        return mean_shift(film[-overlap:], clip[:overlap])
    if choice == "first clip":
        return match_to(first, clip)
    if choice == "clip before":
        return match_to(film[-overlap:], clip[:overlap])
    return UNCHANGED


@torch.no_grad()
def make_film(model: DemoModel, shown: list[Scene], length: int, overlap: int, choice: str, seed: int) -> Film:
    """A film whose every clip goes on from the film so far, in the colours chosen; overlaps keep the earlier frames."""
    motions = tuple(scene.motion for scene in shown)
    trial = replace(FIRST, frames=length)
    clip = pixels(model.generate(trial, captions(shown, motions), torch.empty(len(shown), 3, 0, 64, 64), seed))
    first, film, joints, clips, told = clip, clip, [], [clip], [motions]
    while film.shape[1] < FILM:
        motions, seed = tuple(BACK[motion] for motion in motions), seed + 1
        tail = film[:, -overlap:].movedim(-1, 1) * 2 - 1
        trial = replace(NEXT, frames=length, given=tuple(range(overlap)))
        clip = pixels(model.generate(trial, captions(shown, motions), tail, seed))
        joints.append(film.shape[1] - overlap)
        clip = torch.stack([
            torch.stack([colours_of(choice, old, start, new, overlap).of(frame) for frame in new])
            for old, start, new in zip(film, first, clip)
        ])  # fmt: skip
        film = joined(film, clip, overlap, "frames of a")
        clips.append(clip)
        told.append(motions)
    return Film(film, tuple(joints), tuple(clips), tuple(told))


def captions(shown: list[Scene], motions: tuple[str, ...]) -> list[str]:
    return [caption(scene, motion) for scene, motion in zip(shown, motions)]


def pixels(video: Tensor) -> Tensor:
    """[B, 3, F, H, W] in -1..1 as [B, F, H, W, 3] in 0..1."""
    return ((video + 1) / 2).movedim(1, -1)


def joined(films: Tensor, clips: Tensor, overlap: int, blend: Blend) -> Tensor:
    return torch.stack([join_clips(film, clip, overlap, blend) for film, clip in zip(films, clips)])


def blended(film: Film, overlap: int, blend: Blend) -> Tensor:
    """The clips of a film joined in another way; what goes on from a joint is the same in all of them."""
    frames = film.clips[0]
    for clip in film.clips[1:]:
        frames = joined(frames, clip, overlap, blend)
    return frames[:, :FILM]


def judge(film: Film, frames: Tensor, shown: list[Scene], overlap: int) -> dict[str, float]:
    """Shares in %, and means over the videos."""
    video = frames.movedim(-1, 1) * 2 - 1  # [B, 3, F, H, W]
    quarters = [[detect(clip) for clip in part.contiguous()] for part in video.tensor_split(4, dim=2)]
    row = {}
    for name in ("colour", "background", "shape"):
        right = np.array([[getattr(f, name) == getattr(s, name) for f, s in zip(part, shown)] for part in quarters])
        row |= {name: 100 * right.all(0).mean(), f"{name}, worst quarter": 100 * right.mean(1).min()}
    background = frames.flatten(2, 3).median(2).values  # [B, F, 3]
    drift = (background - background[:, :1]).norm(dim=-1).mean(0)
    row |= {f"drift {place}": float(drift[place]) for place in (24, 48, 72, FILM - 1)}
    row |= {"still": 100 * np.mean([detect(clip.contiguous()).motion == "still" for clip in video])}
    parts = [(0, film.motions[0]), *zip(film.joints, film.motions[1:])]
    ends = [*film.joints, FILM]
    seen = [
        [detect(clip.contiguous()).motion == motion for clip, motion in zip(video[:, :, start:end], motions)]
        for (start, motions), end in zip(parts, ends)
        if end - start > 8
    ]
    row |= {"motion of each clip": 100 * np.mean(seen)}
    return row | jumps(frames, film.joints, overlap)


def jumps(frames: Tensor, joints: tuple[int, ...], overlap: int) -> dict[str, float]:
    """Largest steps of the object's centre (in sides) and of the pixels around joints, and in runs inside clips."""
    centres = torch.stack([centre(video) for video in frames])  # [B, F, 2]
    steps = {"centre": (centres[:, 1:] - centres[:, :-1]).norm(dim=-1)}
    steps["pixel"] = (frames[:, 1:] - frames[:, :-1]).abs().mean((2, 3, 4))
    run, row = overlap + 1, {}
    around = [joint for joint in joints if joint + overlap < frames.shape[1]]
    for name, values in steps.items():
        largest = values.unfold(1, run, 1).amax(-1)  # [B, runs]; run i has the pairs i .. i + run - 1
        at = torch.tensor([joint - 1 for joint in around])
        inside = [i for i in range(largest.shape[1]) if all(i + run <= j - 1 or i > j - 1 + run - 1 for j in around)]
        row |= {f"{name} jump at joints": float(largest[:, at].mean())}
        row |= {f"{name} jump inside": float(largest[:, inside].mean())}
    return row


def centre(video: Tensor) -> Tensor:
    """Of the object in each frame of a video [F, H, W, 3]: [F, 2], in sides."""
    colours = (video - video.flatten(1, 2).median(1).values[:, None, None]).norm(dim=-1)
    mask = (colours - 0.15).clamp(0, 0.15)
    area = mask.sum((1, 2)).clamp(min=1e-6)
    rows, columns = (torch.arange(size) + 0.5 for size in mask.shape[1:])
    return (
        torch.stack((mask.sum(1) @ columns / mask.shape[2], mask.sum(2) @ rows / mask.shape[1]), dim=1) / area[:, None]
    )


def cells() -> Iterator[tuple[str, int, int, str]]:
    """Kind of scene, frames of a clip, overlap, colours."""
    for kind in ("still", "moving"):
        for length in (33, 17):
            for overlap in (5, 1):
                yield kind, length, overlap, "off"
    for length in (17, 33):
        for choice in COLOURS[1:]:
            yield "still", length, 5, choice


def main(count: int = 24, seed: int = 8100, output: str = "extending.jsonl") -> None:
    torch.set_num_threads(1)
    model = DemoModel(Path(__file__).resolve().parents[1] / "models")
    kinds = {
        "still": scenes(count, seed, ("still",)),
        "moving": scenes(count, seed + 1, ("right", "left", "up", "down")),
    }
    for kind, length, overlap, choice in cells():
        began = time.monotonic()
        film = make_film(model, kinds[kind], length, overlap, choice, seed * 100)
        for blend in BLENDS:
            row = {"scenes": kind, "clip": length, "overlap": overlap, "colours": choice, "blend": blend}
            row |= judge(film, blended(film, overlap, blend), kinds[kind], overlap)
            row |= {"clips": len(film.clips), "seconds": round(time.monotonic() - began)}
            with Path(output).open("a", encoding="utf-8") as file:
                file.write(
                    json.dumps({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}) + "\n"
                )


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each.isdecimal()]
    files = [each for each in sys.argv[1:] if not each.isdecimal()]
    main(*numbers, **({"output": files[0]} if files else {}))
