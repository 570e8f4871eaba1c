"""Stage "sound": a small HuMo, in which the shape of a picture grows with what is loud, and an encoder for the sound.

    python -m training.sound_stage

The encoder has the form of whisper's and is not trained: its convolutions take the loudness of sixteen groups of bands
from the spectrogram, and its layers hand that on. The video model goes on from the small Fun-Control.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.func import functional_call
from wan_director.audio_encoder.config import SAMPLE_RATE, WhisperConfig
from wan_director.audio_encoder.encoder import build_audio_encoder
from wan_director.common.families import TINY
from wan_director.dit.branches.audio.humo import HumoBranch, HumoInput
from wan_director.dit.conditioning.audio.humo import ENCODER_LAYERS, SAMPLES_PER_MOMENT, moment_features
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.training import control_stage, small
from wan_director.training.captions import caption
from wan_director.training.dit_stage import noise_levels
from wan_director.training.export import METADATA
from wan_director.training.fitting import Texts, fit
from wan_director.training.latents import encode_normalised
from wan_director.training.parallel import single_thread
from wan_director.training.picture_stage import unpack
from wan_director.training.scenes import Scene, extents, sample_scene, signed_distance

EAR = WhisperConfig(dim=16, ffn_dim=16, heads=1, layers=ENCODER_LAYERS - 1)
BRANCH = HumoBranch(width=EAR.dim, tokens=1, token_width=32, has_mask=False)
CONFIG = small.small_config(16, BRANCH)
FILE = "diffusion_models/wan_director_tiny_demo_humo.safetensors"
EAR_FILE = "audio_encoders/wan_director_tiny_demo_audio_encoder.safetensors"
STEPS = 500
SOUNDS, CLIPS, BATCH = 3, 64, 16
FRAMES, SIDE, FPS = 17, 64, 25
SECONDS = 30
USED = 32
"""Of the 512 inner numbers of what is heard; the others stay zero, and a zip makes nothing of them."""
LOW, RANGE = -46.0, 40.0
"""Decibels below full scale of what is silent to the shape, and how many above that it has its full size."""
LEAST, GROWTH = 0.65, 0.8
"""Radius in silence and what the loudest adds, as parts of the radius in the picture."""
UNGUIDED, UNPROMPTED = 0.12, 0.2
"""Parts of all clips: without words, sound and picture; without words."""


def write_encoder(path: Path) -> None:
    """The encoder's file: loudness of groups of bands, 50 times a second."""
    encoder = build_audio_encoder(EAR)
    weights = {name: torch.zeros_like(weight) for name, weight in encoder.state_dict().items()}
    for name in weights:
        if name.endswith("norm.weight"):
            weights[name] += 1
    bands = EAR.mels // EAR.dim
    for group in range(EAR.dim):
        weights["encoder.conv1.weight"][group, bands * group : bands * (group + 1), 1] = 1 / bands
        weights["encoder.conv1.bias"][group] = 2.0  # values from -1.5 on come to where gelu leaves them as they are
        weights["encoder.conv2.weight"][group, group, 1] = 1.0
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {**METADATA, "wan_director.heads": str(EAR.heads)}
    save_file({name: weight.half().contiguous() for name, weight in weights.items()}, path, metadata=header)


def spoken(rng: np.random.Generator, seconds: float = SECONDS) -> tuple[Tensor, Tensor]:
    """A voice-like sound [1, samples] of syllables and pauses, and its loudness 0..1 at each video frame."""
    count = round(seconds * SAMPLE_RATE)
    times, envelope = np.arange(count) / SAMPLE_RATE, np.zeros(count)
    start = 0.0
    while start < seconds:
        length, level = rng.uniform(0.12, 0.5), 10 ** (rng.uniform(-30, -4) / 20)
        inside = (times >= start) & (times < start + length)
        bump = level * np.sin(np.pi * (times[inside] - start) / length) ** 2
        envelope[inside] = np.maximum(envelope[inside], bump)
        start += length * rng.uniform(0.6, 1.6)
    pitch = 130 * 2 ** (0.4 * np.sin(times * rng.uniform(1, 4)))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.sin(number * phase) / number for number in range(1, 12)) + 0.3 * rng.standard_normal(count)
    sound = envelope * voice / np.sqrt(np.mean(voice**2))
    per_frame = SAMPLE_RATE // FPS
    power = np.square(sound[: count // per_frame * per_frame]).reshape(-1, per_frame).mean(axis=1)
    loudness = np.clip((10 * np.log10(power + 1e-12) - LOW) / RANGE, 0, 1)
    return torch.from_numpy(sound).float()[None], torch.from_numpy(loudness).float()


def sounding(scenes: list[Scene], loudness: Tensor) -> Tensor:
    """Scenes at rest whose radius follows the loudness [B, F]: [B, 3, F, H, W] in -1..1."""
    radii = torch.tensor([scene.radii[0] for scene in scenes])[:, None] * (LEAST + GROWTH * loudness) * SIDE
    place = torch.arange(SIDE) + 0.5
    clips = []
    for scene, radius in zip(scenes, radii):
        x, y = (place - centre * SIDE for centre in scene.start)
        distance = signed_distance(scene.shape, x[None, None, :], y[None, :, None], radius[:, None, None])
        inside = (0.5 - distance).clamp(0, 1)[None]
        colour, ground = (torch.tensor(rgb)[:, None, None, None] for rgb in (scene.colour_rgb, scene.background_rgb))
        clips.append((ground + (colour - ground) * inside) * 2 - 1)
    return torch.stack(clips)


def resting(rng: np.random.Generator) -> Scene:
    """A scene at rest that keeps inside the frame at its largest."""
    scene, radius = sample_scene(rng), rng.uniform(0.14, 0.19)
    reach = [radius * (LEAST + GROWTH) * each for each in extents(scene.shape)]
    centre = [rng.uniform(first, 1 - last) for first, last in (reach[:2], reach[2:])]
    return replace(scene, motion="still", start=tuple(centre), end=tuple(centre), radii=(radius, radius))


class Shard(NamedTuple):
    """Normalised latents of clips [N, 16, T, h, w] and pictures [N, 16, 1, h, w], and what is heard in them."""

    clips: Tensor
    pictures: Tensor
    heard: Tensor
    scenes: list[Scene]


@torch.no_grad()
def make_shard(vae: dict[str, Tensor], ear: torch.nn.Module, seed: int) -> Shard:
    """Draws and encodes clips, each to a part of one sound; `vae` in bfloat16."""
    rng = np.random.default_rng(seed)
    sound, loudness = spoken(rng)
    layers, count = ear(sound), 1 + (FRAMES - 1) // 4
    starts = rng.integers(0, len(loudness) - FRAMES, CLIPS).tolist()
    samples = FRAMES * SAMPLES_PER_MOMENT
    heard = [moment_features([each[:, 2 * start :] for each in layers], samples, count) for start in starts]
    scenes = [resting(rng) for _ in range(CLIPS)]
    loud = torch.stack([loudness[start : start + FRAMES] for start in starts])
    at_rest = torch.full((CLIPS, 1), (1 - LEAST) / GROWTH)
    clips = [encode_normalised(vae, sounding(scenes[i : i + 16], loud[i : i + 16])) for i in range(0, CLIPS, 16)]
    pictures = [encode_normalised(vae, sounding(scenes[i : i + 16], at_rest[i : i + 16])) for i in range(0, CLIPS, 16)]
    return Shard(torch.cat(clips).half(), torch.cat(pictures).half(), torch.cat(heard), scenes)


def loss_of(
    model: WanDiT, weights: dict[str, Tensor], shards: list[Shard], texts: Texts, rng: np.random.Generator,
    progress: float,
) -> Tensor:  # fmt: skip
    """Mean squared error of the velocity of one batch."""
    picks = [(shards[int(rng.integers(len(shards)))], int(rng.integers(CLIPS))) for _ in range(BATCH)]
    guided = torch.from_numpy(rng.random(BATCH) >= UNGUIDED)[:, None, None, None, None]
    clean, pictures, heard = (
        torch.stack([getattr(shard, name)[index] for shard, index in picks]).float()
        for name in ("clips", "pictures", "heard")
    )
    nobody = TINY.normalize(torch.zeros_like(pictures))
    steering = HumoInput(heard * guided, torch.where(guided, pictures, nobody))
    words = [
        caption(shard.scenes[index], rng).text if told and rng.random() >= UNPROMPTED else ""
        for (shard, index), told in zip(picks, guided.flatten().tolist())
    ]
    sigma, noise = noise_levels(BATCH, progress), torch.randn_like(clean)
    noisy = torch.lerp(clean, noise, sigma[:, None, None, None, None])
    inputs = DitInputs(noisy, sigma * 1000, texts.padded(words, rng), steering=(steering,))
    return (functional_call(model, weights, (inputs,)).float() - noise + clean).square().mean()


def begun_from_control(runs: Path) -> dict[str, Tensor]:
    """The trunk of the small Fun-Control with channels for the latent alone, and new layers for what is heard."""
    old, weights = torch.load(runs / "control.pt", weights_only=True), small.new_weights(CONFIG)
    old["patch_embedding.weight"] = old["patch_embedding.weight"][:, :16]
    with torch.no_grad():
        for name, weight in weights.items():
            if name in old:
                weight.copy_(old[name])
            elif name.endswith("audio_cross_attn.o.weight"):
                weight.mul_(0.1)
        for name in ("glob_1", "glob_2"):
            layer = f"audio_proj.audio_proj_{name}.layer"
            weights[f"{layer}.weight"][USED:] = 0
            weights[f"{layer}.bias"][USED:] = 0
        for name in ("glob_2", "glob_3"):
            weights[f"audio_proj.audio_proj_{name}.layer.weight"][:, USED:] = 0
    return weights


def train(runs: Path, models: Path, steps: int) -> None:
    """Writes the encoder, trains the model and writes it into `models`."""
    single_thread()
    torch.manual_seed(44)
    unpack(models, runs)
    write_encoder(models / EAR_FILE)
    ear = build_audio_encoder(EAR).eval()
    held = load_file(models / EAR_FILE)
    ear.load_state_dict({name: weight.float() for name, weight in held.items()})
    texts, rng = Texts(models), np.random.default_rng(45)
    vae = {name: weight.bfloat16() for name, weight in torch.load(runs / "vae.pt", weights_only=True).items()}
    shards, model = [make_shard(vae, ear, 90_000)], WanDiT(CONFIG, fp32_residual=True)

    def loss(weights: dict[str, Tensor], progress: float) -> Tensor:
        if len(shards) < SOUNDS and progress >= 0.5 * len(shards) / SOUNDS:
            shards.append(make_shard(vae, ear, 90_000 + len(shards)))
        return loss_of(model, weights, shards, texts, rng, progress)

    average = fit(begun_from_control(runs), loss, steps, runs / "sound.pt")
    small.write(average, models / FILE, CONFIG.heads)


def main() -> None:
    """Runs the stage."""
    options = control_stage.options_of("python -m training.sound_stage", __doc__ or "", STEPS)
    train(options.runs, options.models, options.steps)


if __name__ == "__main__":
    main()
