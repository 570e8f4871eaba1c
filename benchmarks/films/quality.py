"""Whether long films of the bundled model keep their colours, shape, background and place, and what happens at joints.

    python -m wan_director.benchmarks.films.quality [FILMS] [CLIPS] [SEED] [OVERLAP] [FOLDER] > RECORDS

Films of clips of 17 frames begin with a rendered picture. Every second one is to stay still; in the others the object
turns round at every second joint, by the prompt of the clip, so that it stays in the picture. A record per film, then
what they come to: colour, background and shape in every quarter, as the detector of the training sees them; still films
still in every quarter; how far the background's colour goes from the first to the last quarter (0 to 1.7). At joints
where the prompt stays, and within clips: the detector's jump (the largest movement between two frames beside the steady
one) in a dozen frames, half of them on each side or all of one clip; and how far the pixels change from one frame to
the next (0 to 2). Of each film, frames go into the folder, to be looked at.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from wan_director.common.shapes import VideoShape
from wan_director.engine.films.film import film_frames
from wan_director.engine.films.kept import NO_FILMS_KEPT
from wan_director.engine.films.shape import film_shape
from wan_director.engine.local import LocalRuntime
from wan_director.engine.memory import AUTOMATIC
from wan_director.engine.recipe import ModelRecipe
from wan_director.engine.resuming.kept import NO_RUNS_KEPT
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.nodes.films.cast import FilmCast
from wan_director.nodes.films.clips import FilmClips, encode_film
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import BUNDLED_MODELS, use_host
from wan_director.nodes.sockets.models import text_encoder, video_autoencoder, video_model
from wan_director.training.captions import WAN_NEGATIVE
from wan_director.training.detector import detect
from wan_director.training.scenes import Scene, render, sample_scene

SIDE, CLIP_FRAMES, STEPS, CFG = 64, 17, 8, 2.0
OPPOSITE = {"right": "left", "left": "right", "up": "down", "down": "up", "still": "still"}
WORDS = {"right": "moves to the right", "left": "moves to the left", "up": "moves up", "down": "moves down"}
ATTRIBUTES = ("colour", "background", "shape")


def scenes(count: int, seed: int) -> list[Scene]:
    """Every second one still, the others with a direction."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        scene = sample_scene(rng, held_out=True, aspect=1.0)
        wanted = ("still",) if len(found) % 2 == 0 else tuple(WORDS)
        found += [scene] if scene.motion in wanted else []
    return found


def prompts(scene: Scene, clips: int) -> list[str]:
    """One for each clip."""
    motions = [scene.motion if clip % 4 in (0, 3) else OPPOSITE[scene.motion] for clip in range(clips)]
    said = [WORDS[motion] + " slowly" if motion in WORDS else "stays still" for motion in motions]
    return [f"a {scene.colour} {scene.shape} {words} on a {scene.background} background" for words in said]


class Maker:
    """Makes films of the bundled models."""

    def __init__(self) -> None:
        use_host(HeadlessHost(runtime=LocalRuntime("cpu")))
        self._runtime = LocalRuntime("cpu")
        self._model = video_model(self._recipe("diffusion_models", "i2v"), self._runtime)
        self._vae = video_autoencoder(self._recipe("vae", "vae", "vae"), self._runtime)
        self._text = text_encoder(self._recipe("text_encoders", "text_encoder", "text_encoder"), self._runtime)

    @staticmethod
    def _recipe(folder: str, name: str, kind: str = "dit") -> ModelRecipe:
        return ModelRecipe(BUNDLED_MODELS / folder / f"wan_director_tiny_demo_{name}.safetensors", kind, "fp32")

    def film(self, scene: Scene, clips: int, overlap: int, seed: int) -> Tensor:
        """[3, F, H, W] in -1..1."""
        lines, video = prompts(scene, clips), VideoShape(CLIP_FRAMES, SIDE, SIDE)
        start = (render([scene], CLIP_FRAMES, SIDE, SIDE)[0, :, :1].movedim(0, -1) + 1) / 2
        shape = film_shape(lines, clips, CLIP_FRAMES, overlap)
        cast = FilmCast(self._model, None, self._vae, None)
        cast.check(self._text, video, clips, has_start=True)
        settings = SamplerSettings(seed, STEPS, CFG, 5.0, "euler", "simple")
        encoded = encode_film(self._text, lines, WAN_NEGATIVE, None)
        maker = FilmClips(cast, encoded, shape, video, start.clamp(0, 1), None, settings, AUTOMATIC)
        frames = [*film_frames(shape, maker, NO_FILMS_KEPT, NO_RUNS_KEPT)]
        return torch.stack(frames).movedim(-1, 0) * 2 - 1


def measure(film: Tensor, scene: Scene, overlap: int) -> dict[str, Any]:
    """What is seen in a film."""
    frames = film.shape[1]
    quarters = [film[:, frames * n // 4 : frames * (n + 1) // 4] for n in range(4)]
    found = [detect(part) for part in quarters]
    shades = [((part + 1) / 2).flatten(1).median(dim=1).values for part in quarters]
    change = film.diff(dim=1).abs().mean(dim=(0, 2, 3))  # number n leads to frame n + 1
    new = CLIP_FRAMES - overlap
    joints = range(CLIP_FRAMES, frames, new)  # the first new frame of each clip
    straight = [joint for number, joint in enumerate(joints, start=1) if number % 2 == 0 or scene.motion == "still"]
    at_joint = torch.zeros(frames, dtype=torch.bool)
    at_joint[list(joints)] = True
    half = new // 2
    across = [detect(film[:, joint - half : joint + half]).jump for joint in straight]
    inside = [detect(film[:, joint : joint + new]).jump for joint in joints]
    still = [each.motion == "still" for each in found]
    return {
        "scene": [scene.colour, scene.shape, scene.background, scene.motion],
        "frames": frames,
        "right": {name: [getattr(each, name) == getattr(scene, name) for each in found] for name in ATTRIBUTES},
        "still": still if scene.motion == "still" else None,
        "drift": float((shades[0] - shades[-1]).norm()),
        "jump_at": float(np.mean(across)),
        "jump_in": float(np.mean(inside)),
        "change_at": float(change[[joint - 1 for joint in straight]].mean()),
        "change_in": float(change[~at_joint[1:]].mean()),
    }


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What all films come to."""
    still = [record for record in records if record["still"] is not None]
    moving = [record for record in records if record["still"] is None]
    shares = {
        f"{name} in every quarter": float(np.mean([all(record["right"][name]) for record in records]))
        for name in ATTRIBUTES
    }
    quarters = {
        f"{name} by quarter": np.mean([record["right"][name] for record in records], axis=0).tolist()
        for name in ATTRIBUTES
    }
    joints = {
        f"{kind} of {name}: at joints, within clips": [
            float(np.mean([record[f"{kind}_{where}"] for record in group])) for where in ("at", "in")
        ]
        for name, group in (("still", still), ("moving", moving), ("all", records))
        for kind in ("jump", "change")
        if group
    }
    drifts = [record["drift"] for record in records]
    return {
        "films": len(records),
        **shares,
        **quarters,
        "still in every quarter": float(np.mean([all(record["still"]) for record in still])) if still else None,
        "drift": {"mean": float(np.mean(drifts)), "most": float(np.max(drifts))},
        **joints,
    }


@torch.inference_mode()
def main(films: int = 24, clips: int = 8, seed: int = 9700, overlap: int = 5, folder: str = "") -> None:
    torch.set_num_threads(1)
    maker, records = Maker(), []
    for number, scene in enumerate(scenes(films, seed)):
        film = maker.film(scene, clips, overlap, seed + 1000 * (number + 1))
        records.append({"film": number, **measure(film, scene, overlap)})
        print(json.dumps(records[-1]), flush=True)
        if folder:
            _save_strip(film, Path(folder) / f"film_{number:02}.png")
    print(json.dumps(summary(records)), flush=True)


def _save_strip(film: Tensor, path: Path) -> None:
    """Every sixth frame, twenty in a row."""
    frames = ((film[:, ::6] + 1) * 127.5).round().byte().permute(1, 2, 3, 0)  # [n, H, W, 3]
    rows = [torch.cat([*row, *[torch.zeros_like(row[0])] * (20 - len(row))], dim=1) for row in frames.split(20)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(torch.cat(rows).numpy()).save(path)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:5]]
    main(*numbers, *sys.argv[5:6])
