"""InfiniteTalk in miniature: a shape swells with what is heard. Layers for the bundled image-to-video model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from wan_director.audio_encoder import encode_sound
from wan_director.dit.branches.audio.talk import TalkBranch
from wan_director.dit.conditioning.audio.talk import TalkScene, spoken_frames, video_features
from wan_director.dit.conditioning.clip_image import ClipImage
from wan_director.dit.conditioning.start_image import KeyframeImages, keyframe_mask
from wan_director.dit.inputs import ConditioningItem
from wan_director.dit.model import WanDiT
from wan_director.model_loading.branch_module import add_module
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT, INFINITETALK_MODULE
from wan_director.sampling.given import Given, ShownFrames
from wan_director.training.dit_stage import CONFIG
from wan_director.training.export import FILES, METADATA
from wan_director.training.scenes import Scene, place, render, sample_scene
from wan_director.training.variants.clips import SIDE, Clips, Encoders
from wan_director.training.variants.ears import CONFIG as EARS
from wan_director.training.variants.ears import made_ears, save_ears
from wan_director.training.variants.judge import has_colours, place_of
from wan_director.training.variants.saving import save_scaled
from wan_director.training.variants.syllables import SAMPLE_RATE, syllables

FILE = "model_patches/wan_director_tiny_demo_infinitetalk.safetensors"
FRAMES, FPS = 33, 25
LATENT_FRAMES = 1 + (FRAMES - 1) // 4
DURATION_S = 1.4
PER_SECOND = 1.6, 2.6
"""Syllables: no more than latent frames can tell apart."""
REST, SWELL = 0.75, 0.7
"""How large a shape is in silence, of a scene's, and by how much the loudest sound makes it larger than that."""
SEEN_SHARE = 0.7
BRANCH = TalkBranch(blocks=CONFIG.layers, width=EARS.dim, tokens=4, token_width=32, inner=48)
_OWN = ("audio_proj.", ".audio_cross_attn.", ".norm_x.")


class TalkLesson:
    """A clip goes on from a picture, and its shape is as large as what is heard is loud."""

    name, file = "talk", FILE
    clips, batch, steps, rate = 256, 12, 900, 3e-3

    def draw(self, encoders: Encoders, rng: np.random.Generator, count: int, held_out: bool) -> Clips:
        """See `Lesson.draw`."""
        scenes = [calm_scene(rng, held_out) for _ in range(count)]
        sounds = [syllables(DURATION_S, rng.uniform(*PER_SECOND), int(rng.integers(2**31))) for _ in scenes]
        loud = torch.stack([loudness(sound) for sound in sounds])
        video = render(scenes, FRAMES, SIDE, SIDE, 1 + SWELL * loud)
        held = torch.zeros_like(video)
        held[:, :, 0] = video[:, :, 0]
        ears = made_ears()
        heard = [video_features(encode_sound(ears, sound, lambda: None).layers) for sound in sounds]
        said = torch.cat([spoken_frames(each[None], LATENT_FRAMES) for each in heard])
        parts = {"latent": encoders.latent(video), "given": encoders.latent(held), "seen": encoders.seen(video)}
        return Clips(scenes, parts | {"heard": said.half(), "loudness": loud})

    def begin(self, models: Path) -> WanDiT:
        """See `Lesson.begin`."""
        model = WanDiT(CONFIG.with_branches((BRANCH,)))
        model.load_state_dict({name: w.float() for name, w in load_file(models / FILES["i2v"]).items()}, strict=False)
        for name, weight in model.named_parameters():
            if ".audio_cross_attn.proj." in name:
                torch.nn.init.zeros_(weight)
        return model

    def learns(self, name: str) -> bool:
        """See `Lesson.learns`: the bundled model stays as it is."""
        return any(part in name for part in _OWN)

    def told(self, scenes: list[Scene], rng: np.random.Generator) -> list[Scene]:
        """See `Lesson.told`."""
        return scenes

    def clean(self, clips: Clips) -> Tensor:
        """See `Lesson.clean`."""
        return clips.parts["latent"]

    def items(self, clips: Clips, rng: np.random.Generator | None) -> tuple[ConditioningItem, ...]:
        """See `Lesson.items`."""
        given = clips.parts["given"]
        mask = keyframe_mask([0], FRAMES, *given.shape[3:]).expand(len(given), -1, -1, -1, -1)
        is_seen = rng is None or rng.random() < SEEN_SHARE
        picture = (ClipImage(clips.parts["seen"]),) if is_seen else ()
        return (KeyframeImages(given, mask), *picture, TalkScene(clips.parts["heard"]))

    def shown(self, clips: Clips) -> Given:
        """See `Lesson.shown`: the first frame is shown without noise."""
        return ShownFrames(clips.parts["given"][:, :, :1], is_kept=False)

    def wanted(self, clean: Tensor, noise: Tensor) -> Tensor:
        """See `Lesson.wanted`: of the frame that is shown clean, nothing is to be taken away."""
        towards = noise - clean
        return torch.cat([torch.zeros_like(towards[:, :, :1]), towards[:, :, 1:]], dim=2)

    def save(self, weights: Mapping[str, Tensor], models: Path) -> None:
        """See `Lesson.save`; the encoder of sounds is written, too."""
        save_scaled(weights, models / FILE, METADATA)
        save_ears(made_ears(), models)

    def finished(self, models: Path) -> WanDiT:
        """See `Lesson.finished`."""
        return add_module(load(DIT, models / FILES["i2v"]), models / FILE, INFINITETALK_MODULE).module

    def video_of(self, latent: Tensor) -> Tensor:
        """See `Lesson.video_of`."""
        return latent

    def score(self, scene: Scene, video: Tensor, given: Mapping[str, Tensor]) -> dict[str, float]:
        """See `Lesson.score`: how its size, the root of its area, goes with the loudness."""
        size, loud = place_of(video).flatten(1).sum(1).float().sqrt(), given["loudness"]
        size, loud = size - size.mean(), loud - loud.mean()
        together = float((size * loud).sum() / (size.norm() * loud.norm()).clamp(min=1e-6))
        return {"size with loudness": together, "colours": has_colours(video, scene)}


def calm_scene(rng: np.random.Generator, held_out: bool) -> Scene:
    """A scene whose shape neither grows nor shrinks by itself, and is small enough to swell."""
    while (scene := sample_scene(rng, held_out=held_out)).motion in ("grow", "shrink"):
        pass
    scene = place(scene, rng)
    return replace(scene, radii=(scene.radii[0] * REST, scene.radii[1] * REST))


def loudness(sound: Tensor) -> Tensor:
    """How loud a sound [1, samples] is in each video frame, of its loudest one: [F] in 0..1."""
    window = SAMPLE_RATE // FPS
    powers = sound[0, : FRAMES * window].view(FRAMES, window).square().mean(dim=1)
    smooth = F.avg_pool1d(powers.sqrt()[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    return smooth / smooth.max().clamp(min=1e-6)
