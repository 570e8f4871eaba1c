"""Wan S2V between ComfyUI's own nodes and ours: the conditioning of either in the sampler of either."""

from __future__ import annotations

import math
import struct
import wave
from pathlib import Path
from typing import Any

import pytest
import torch
from wan_director.audio_encoder.config import SpeechConfig
from wan_director.audio_encoder.encoder import build_audio_encoder
from wan_director.dit.branches.audio.past import PastBranch
from wan_director.dit.branches.audio.pose import SpeechPoseBranch
from wan_director.dit.branches.audio.speech import SpeechBranch
from wan_director.dit.branches.audio.still import StillBranch

from .conftest import ComfyServer, finished_latent, node, save_model, save_random_dit

MODEL, EAR = "talking_s2v.safetensors", "talking_wav2vec2.safetensors"
HEARING = SpeechConfig(ffn_dim=16, conv_dims=(16,) * 7)
"""As wide and deep as the large one, which ComfyUI's S2V takes for granted."""
SIDES = {"positive": ["positive", 0], "negative": ["negative", 0], "vae": ["vae", 0]}
SIZE = {"width": 64, "height": 64}
SETTINGS = {"seed": 1, "steps": 3, "cfg": 3.0, "denoise": 1.0}
WIRES = {"model": ["model", 0], "positive": ["made", 0], "negative": ["made", 1]}
SAMPLERS = {
    "native": {
        "unet": node("UNETLoader", unet_name=MODEL, weight_dtype="default"),
        "model": node("ModelSamplingSD3", model=["unet", 0], shift=5.0),
        "sampler": node(
            "KSampler", **WIRES, **SETTINGS, latent_image=["made", 2], sampler_name="euler", scheduler="simple"
        ),
    },
    "ours": {
        "model": node("WanDirectorLoadModel", model_name=MODEL, precision="fp32", attention="sdpa"),
        "sampler": node(
            "WanDirectorSampler", **WIRES, **SETTINGS, latent=["made", 2], shift=5.0, solver="euler", schedule="simple"
        ),
    },
}
NATIVE = {
    "sound": {"audio_encoder_output": ["heard", 0]},
    "who": {"audio_encoder_output": ["heard", 0], "ref_image": ["small", 0]},
    "poses": {"audio_encoder_output": ["heard", 0], "ref_image": ["small", 0], "control_video": ["clip", 0]},
    "nothing": {},
}
"""What ComfyUI's node is given."""
NAMES = {"audio_encoder_output": "audio", "ref_image": "reference_image", "control_video": "pose_video"}
"""What our node calls it."""


def write_sound(path: Path) -> None:
    """A second of a tone that rises."""
    samples = [round(20000 * math.sin(2e-5 * index**2)) for index in range(22050)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22050)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


@pytest.fixture(scope="module")
def server(odd_models: ComfyServer) -> ComfyServer:
    """The server with a random S2V, an encoder that it listens through, and a sound."""
    folder = odd_models.folder
    branches = (SpeechPoseBranch(), SpeechBranch(), StillBranch(), PastBranch())
    save_random_dit(folder / "models" / "diffusion_models" / MODEL, 1, layers=40, branches=branches)
    torch.manual_seed(2)
    save_model(folder / "models" / "audio_encoders" / EAR, build_audio_encoder(HEARING), {})
    write_sound(folder / "input" / "tone.wav")
    return odd_models


def latent(server: ComfyServer, made: dict[str, Any], sampler: str, name: str, **more: Any) -> torch.Tensor:
    """The finished latent of a video that a node prepares."""
    nodes = {
        "picture": node("LoadImage", image="example.png"),
        "small": node("ImageScale", image=["picture", 0], upscale_method="area", **SIZE, crop="center"),
        "clip": node("RepeatImageBatch", image=["small", 0], amount=9),
        "tone": node("LoadAudio", audio="tone.wav"),
        "ear": node("WanDirectorLoadAudioEncoder", audio_encoder_name=EAR, precision="fp32"),
        "heard": node("WanDirectorAudioEncode", audio_encoder=["ear", 0], audio=["tone", 0]),
        "made": made,
        **SAMPLERS[sampler],
        **more,
    }
    return finished_latent(server, nodes, f"talking/{name}_{made['class_type']}_{sampler}")


def assert_same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 0.1
    # Both compute in float32; the sums of three steps differ by its rounding.
    assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


def native(name: str) -> dict[str, Any]:
    return node("WanSoundImageToVideo", **SIDES, **SIZE, length=9, batch_size=1, **NATIVE[name])


@pytest.mark.parametrize("name", NATIVE)
def test_either_node_gives_the_same_in_either_sampler(server, name):
    expected = latent(server, native(name), "native", name)
    given = {NAMES[key]: value for key, value in NATIVE[name].items()}
    made = node("WanDirectorSpeechToVideo", **SIDES, **SIZE, frames=9, batch_size=1, fit="crop", **given)
    assert_same(latent(server, native(name), "ours", name), expected)
    for sampler in SAMPLERS:
        assert_same(latent(server, made, sampler, name), expected)


def test_a_sound_and_pictures_are_heard_and_seen(server):
    made = {name: latent(server, native(name), "ours", name) for name in NATIVE}
    changes = [(made[one] - made[other]).abs().max() for one, other in (("sound", "nothing"), ("who", "sound"))]
    changes.append((made["poses"] - made["who"]).abs().max())
    assert min(changes) > 0.01


def test_next_chunks_are_prepared_alike(server):
    """In our sampler; ComfyUI's model itself puts frames before at other places in time."""
    given = {**SIDES, "audio_encoder_output": ["heard", 0], "ref_image": ["small", 0]}
    wires = {"positive": ["before", 0], "negative": ["before", 1], "latent": ["before", 2]}
    past = node("WanDirectorSampler", **{**SAMPLERS["ours"]["sampler"]["inputs"], **wires})
    first = {"before": native("who"), "past": past}
    theirs = node("WanSoundImageToVideoExtend", **given, length=9, video_latent=["past", 0])
    ours = node(
        "WanDirectorSpeechToVideo", **SIDES, **SIZE, frames=9, batch_size=1, fit="crop", audio=["heard", 0],
        reference_image=["small", 0], previous=["past", 0],
    )  # fmt: skip
    expected = latent(server, theirs, "ours", "next", **first)
    assert_same(latent(server, ours, "ours", "next", **first), expected)
    assert (expected - latent(server, native("who"), "ours", "who")).abs().max() > 0.01
