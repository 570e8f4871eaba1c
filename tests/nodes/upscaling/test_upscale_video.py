"""Wan Upscale Video and Wan Tiles: what is the same to the bit, every kind of model, memory, stops and refusals."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from wan_director.common.errors import InvalidInputError, OutOfMemory, PairingError
from wan_director.engine.local import Interrupted
from wan_director.engine.memory import MemoryWidgets
from wan_director.media.pictures import fit_pictures
from wan_director.sampling.windows import SlidingWindows, SpatialTiles, TileSide
from wan_director.sampling.windows.repeated_noise import fresh_noise

from ..conftest import HIGH, LOW, call, encode, load, load_vae, picture, save_experts

pytestmark = pytest.mark.usefixtures("inference")

SAMPLER = {"seed": 7, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 0.3}
LARGE = {"width": 832, "height": 480, "overlap": 128}
SMALL = {"width": 64, "height": 48, "overlap": 16}
SIZE = {"factor": 2.0, "width": 0, "height": 0}


def upscaled(model="t2v.safetensors", tiles=SMALL, **changes) -> torch.Tensor:
    model = load(model) if isinstance(model, str) else model
    positive, negative = encode("text.safetensors")
    inputs = {
        "model": model, "positive": positive, "negative": negative, "vae": load_vae("vae.safetensors"),
        "images": picture(5), **SIZE, **SAMPLER, **{f"tile_{name}": value for name, value in tiles.items()},
    }  # fmt: skip
    return call("UpscaleVideo", **inputs | changes)["samples"]


def by_hand(model, *, size=(128, 96), images=None, **changes) -> torch.Tensor:
    """Enlarged, encoded and sampled by the nodes that do one of these each."""
    positive, negative = encode("text.safetensors")
    large = fit_pictures(picture(5) if images is None else images, *size, "crop")
    latent = call("Encode", vae=load_vae("vae.safetensors"), images=large)
    sides = {"positive": positive, "negative": negative}
    return call("Sampler", model=model, latent=latent, **sides, **SAMPLER | changes)["samples"]


def tiled(model, **changes):
    return call("Tiles", model=model, **SMALL | changes)


def test_in_one_tile_it_is_encoding_and_sampling_to_the_bit():
    assert torch.equal(upscaled(tiles=LARGE), by_hand(load("t2v.safetensors")))


def test_in_tiles_it_is_the_sampler_with_wan_tiles_to_the_bit():
    found = upscaled()
    assert torch.equal(found, by_hand(tiled(load("t2v.safetensors"))))
    assert not torch.equal(found, upscaled(tiles=LARGE))


def test_without_denoise_the_clip_is_enlarged_alone():
    large = fit_pictures(picture(5), 128, 96, "crop")
    expected = call("Encode", vae=load_vae("vae.safetensors"), images=large)["samples"]
    torch.testing.assert_close(upscaled(denoise=0.0), expected, rtol=0, atol=1e-5)  # normalised and back


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (96, 128)),
        ({"factor": 1.6}, (80, 96)),
        ({"width": 160}, (128, 160)),
        ({"height": 144}, (144, 192)),
        ({"width": 128, "height": 128}, (128, 128)),
        ({"factor": 1.0}, (48, 64)),
    ],
)
def test_the_size_follows_from_what_is_given(changes, size):
    latent = upscaled(steps=1, cfg=1.0, denoise=0.1, **changes)
    assert latent.shape == (1, 16, 2, size[0] // 8, size[1] // 8)


def test_a_clip_of_any_size_is_taken_and_the_log_says_what_is_cut_off(caplog):
    with caplog.at_level(logging.INFO):
        upscaled(images=picture(5, 50, 61), denoise=0.0)
    assert "The clip of 61 x 50 becomes 128 x 96; 8.5 % of each frame are cut off." in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        upscaled(cfg=1.0)
    assert "The clip of 64 x 48 becomes 128 x 96." in caplog.text
    assert "The video of 5 frames is made in 9 tiles of at most 5 frames of 64 x 48 at a time." in caplog.text


def test_tiles_and_windows_go_together_in_either_order():
    windows = {"frames": 13, "overlap": 4, "schedule": "static", "blend": "pyramid", "noise": "repeated"}
    model, expected = load("t2v.safetensors"), SpatialTiles(TileSide(6, 2), TileSide(8, 2), SlidingWindows(4, 1))
    one = tiled(call("Windows", model=model, **windows))
    other = call("Windows", model=tiled(model), **windows)
    assert one.policies.windows == other.policies.windows == expected
    for made, node, values, sentence in (
        (one, "Tiles", SMALL, "comes with tiles already, and a run has one kind"),
        (one, "Windows", windows, "comes with windows already, and a run has one kind"),
    ):
        with pytest.raises(InvalidInputError, match=sentence):
            call(node, model=made, **values)


def test_a_clip_longer_than_in_training_is_seen_in_windows_and_those_of_wan_windows_count_instead(caplog):
    images, size = picture(85, 32, 32), {"factor": 1.0, "steps": 1, "cfg": 1.0}
    tiles, model = {"width": 32, "height": 32, "overlap": 0}, load("wan21_t2v.safetensors")
    positive, negative = encode("wan21_text.safetensors")
    files = {"vae": load_vae("wan21_vae.safetensors"), "positive": positive, "negative": negative}
    with caplog.at_level(logging.INFO):
        upscaled(model, tiles, images=images, **size, **files)
    assert "The video of 85 frames is made in 2 windows of at most 81 frames at a time." in caplog.text
    caplog.clear()
    own = call("Windows", model=model, frames=45, overlap=4, schedule="static", blend="linear", noise="fresh")
    with caplog.at_level(logging.INFO):
        upscaled(own, tiles, images=images, **size, **files)
    assert "made in 2 windows of at most 45 frames at a time." in caplog.text
    assert SlidingWindows(21, 8, noising=fresh_noise) != own.policies.windows


def test_of_two_experts_the_low_noise_one_alone_works_at_little_noise(models, caplog):
    save_experts(models)
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=0)
    assert torch.equal(upscaled(pair), upscaled(LOW))


def test_the_5b_model_has_its_own_multiples():
    positive, negative = encode("wan21_text.safetensors")
    files = {"vae": load_vae("wan22_vae.safetensors"), "positive": positive, "negative": negative}
    latent = upscaled("ti2v.safetensors", {"width": 64, "height": 64, "overlap": 32}, **files)
    assert latent.shape == (1, 48, 2, 6, 8)
    with pytest.raises(InvalidInputError, match="Of a tile: The height must be a multiple of 32 pixels, got 48."):
        upscaled("ti2v.safetensors", **files)


def test_an_image_to_video_model_needs_its_image_in_the_new_size():
    positive, negative = encode("text.safetensors")
    given = {"positive": positive, "negative": negative, "vae": load_vae("vae.safetensors"), "batch_size": 1}
    given |= {"frames": 5, "fit": "crop", "start_image": picture(1)}
    large = call("ImageToVideo", width=128, height=96, **given)
    looked = {"clip_vision_start": call(
        "ClipVisionEncode", clip_vision=call("LoadClipVision", clip_vision_name="clip.safetensors"), image=picture(1)
    )}  # fmt: skip
    large = call("ImageToVideo", width=128, height=96, **given, **looked)
    assert upscaled("i2v.safetensors", positive=large[0], negative=large[1]).shape == (1, 16, 2, 12, 16)
    small = call("ImageToVideo", width=64, height=48, **given, **looked)
    with pytest.raises(PairingError, match="[Ss]ize|8 x 6|6 x 8"):
        upscaled("i2v.safetensors", positive=small[0], negative=small[1])


def test_without_an_image_an_image_to_video_model_is_refused_as_in_the_sampler(monkeypatch):
    monkeypatch.setattr("wan_director.nodes.upscaling.upscaled.encoded", lambda *_: pytest.fail("encoded"))
    positive, negative = encode("wan21_text.safetensors")
    inputs = {"model": load("wan21_i2v.safetensors"), "positive": positive, "negative": negative}
    with pytest.raises(PairingError, match="needs a start image. Connect Wan Image To Video") as in_upscaling:
        upscaled(vae=load_vae("wan21_vae.safetensors"), **inputs)
    with pytest.raises(PairingError) as in_sampler:
        call("Sampler", latent={"samples": torch.zeros(1, 16, 2, 12, 16)}, **inputs, **SAMPLER)
    assert str(in_upscaling.value) == str(in_sampler.value)


def test_vace_follows_the_part_of_its_control_that_a_tile_shows():
    positive, negative = encode("text.safetensors")
    control = call(
        "Vace", positive=positive, negative=negative, vae=load_vae("vae.safetensors"), width=128, height=96, frames=5,
        batch_size=1, strength=1.0, control_video=picture(5, 96, 128),
    )  # fmt: skip
    found = upscaled("vace.safetensors", positive=control[0], negative=control[1])
    assert not torch.equal(found, upscaled("vace.safetensors", positive=positive, negative=negative))


class Fourfold(nn.Module):
    """As an UPSCALE_MODEL of the package spandrel looks to a node."""

    scale, input_channels = 4, 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.ParameterList([0.3 * torch.randn(3 * 16, 3, 3, 3)])
        self.asked = 0

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return torch.pixel_shuffle(F.conv2d(picture, self.model[0], padding=1), 4) / 4 + 0.5


def test_an_upscale_model_enlarges_each_frame_first():
    network = Fourfold()
    frames = [network(frame[None].movedim(-1, 1)).clamp(0, 1)[0].movedim(0, -1) for frame in picture(5)]
    network.asked = 0
    expected = by_hand(tiled(load("t2v.safetensors")), images=torch.stack(frames))
    torch.testing.assert_close(upscaled(upscale_model=network), expected, rtol=0, atol=1e-5)
    assert network.asked == 5


def test_swapped_blocks_and_the_end_of_memory_change_nothing(caplog):
    undisturbed, model = upscaled(), load("t2v.safetensors")
    swap = MemoryWidgets(mode="manual", blocks_to_swap=1).settings()
    assert torch.equal(upscaled(memory=swap), undisturbed)
    calls = []

    def fail_once(*_call):
        calls.append(1)
        if len(calls) == 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = model.residence.module.blocks[1].register_forward_hook(fail_once)
    try:
        assert torch.equal(upscaled(model), undisturbed)
    finally:
        handle.remove()
    assert "Out of memory in step 1: 2 of 2 blocks are swapped" in caplog.text


@pytest.mark.parametrize("at", [1, 7])
def test_a_stop_is_heard_after_the_block_that_runs(at, tiny_host):
    model, runs = load("t2v.safetensors"), []

    def run(*_call):
        runs.append(1)
        tiny_host.runtime.interrupted = len(runs) >= at

    handle = model.residence.module.blocks[0].register_forward_hook(run)
    try:
        with pytest.raises(Interrupted):
            upscaled(model)
    finally:
        handle.remove()
        tiny_host.runtime.interrupted = False
    assert len(runs) == at


class NativeVAE:
    """A VAE of ComfyUI, which takes all frames at once."""

    latent_channels, latent_dim = 16, 3

    def __init__(self) -> None:
        self.own = load_vae("vae.safetensors")

    def encode(self, frames):
        self.frames = frames
        return self.own.encode(frames)


def test_a_vae_of_comfyui_is_given_all_frames(monkeypatch):
    vae = NativeVAE()
    assert torch.equal(upscaled(vae=vae), upscaled())
    assert torch.equal(vae.frames, fit_pictures(picture(5), 128, 96, "crop"))
    monkeypatch.setattr("wan_director.common.memory.free_ram.free_ram_bytes", lambda: 1000)
    with pytest.raises(OutOfMemory, match="The 5 enlarged frames for the VAE of ComfyUI take 0.0 GB of RAM"):
        upscaled(vae=vae)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": picture(4)}, "A clip has 1 + 4k frames, got 4. Use 1 or 5."),
        ({"factor": 0.5}, "factor is at least 1, width and height at least 0, got 0.5, 0 and 0."),
        ({"width": -16}, "got 2, -16 and 0."),
        ({"width": 48, "height": 32}, "The clip has 64 x 48 pixels and would become smaller, 48 x 32."),
        ({"width": 100, "height": 96}, "The width must be a multiple of 16 pixels, got 100. Use 96 or 112."),
        ({"factor": 500.0}, "at most"),
        ({"denoise": 1.5}, "Denoise must be from 0"),
        ({"steps": 0}, "Steps must be a whole number from 1 to 1000, got 0"),
        ({"solver": "none"}, "There is no solver 'none'"),
        ({"upscale_model": torch.zeros(1)}, "upscale_model must be the model of Load Upscale Model, got a tensor"),
        ({"tiles": SMALL | {"width": 100}}, "Of a tile: The width must be a multiple of 16 pixels, got 100."),
        ({"tiles": SMALL | {"overlap": 48}}, "cannot share 48 pixels with the next. Use a multiple of 16, at most 32."),
        ({"tiles": SMALL | {"overlap": 8}}, "cannot share 8 pixels"),
        ({"tiles": SMALL | {"overlap": -16}}, "cannot share -16 pixels"),
        ({"positive": []}, "The positive conditioning must be a list"),
        ({"memory": 3}, "memory must be the settings of Wan Memory"),
        ({"model": object()}, "model must be the model of Load Wan Model"),
    ],
)
def test_what_cannot_work_is_refused_before_a_frame_is_encoded(changes, sentence, monkeypatch):
    monkeypatch.setattr("wan_director.nodes.upscaling.upscaled.encoded", lambda *_: pytest.fail("encoded"))
    with pytest.raises(InvalidInputError, match=sentence.replace("+", r"\+")):
        upscaled(**changes)


def test_parts_that_do_not_belong_together_are_refused_before_a_frame_is_encoded(monkeypatch):
    monkeypatch.setattr("wan_director.nodes.upscaling.upscaled.encoded", lambda *_: pytest.fail("encoded"))
    for changes in ({"vae": load_vae("wan22_vae.safetensors")}, {"model": load("wan21_t2v.safetensors")}):
        with pytest.raises(PairingError):
            upscaled(tiles={"width": 64, "height": 64, "overlap": 32}, **changes)
    grey = Fourfold()
    grey.input_channels = 1
    with pytest.raises(InvalidInputError, match="The upscale model takes pictures of 1 channels"):
        upscaled(upscale_model=grey)
