"""Wan Causal and Wan Causal Start, ComfyUI's own nodes for causal models, and what does not go with them."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import WanDirectorError
from wan_director.engine.models import with_policies
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.core_nodes.wan_videos import fitted
from wan_director.nodes.sockets.native_model import NativeModel
from wan_director.sampling.causal.order import ChunkByChunk

from .conftest import (
    FORMS,
    HEADS,
    HIGH,
    LOW,
    call,
    dit,
    encode,
    in_form,
    load,
    load_vae,
    picture,
    save_experts,
    save_model,
)

NAME = "causal_forcing-framewise.safetensors"
CAUSAL = {"chunk_frames": 1, "window_frames": 0, "sink_frames": 0}
SIZE = {"width": 64, "height": 48, "frames": 13, "batch_size": 1}
RUN = {"steps": 2, "cfg": 1.0, "shift": 5.0, "solver": "lcm", "schedule": "simple", "seed": 5, "denoise": 1.0}
MEMORY = {
    "mode": "manual", "budget": "leave free", "gigabytes": 1.0, "blocks_to_swap": 1, "pinned_ram": 0.0,
    "text_encoder": "auto", "vae": "auto", "vae_strips": 0, "feed_forward_tokens": 64,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def causal_file(models):
    save_model(models / "diffusion_models" / NAME, dit(text_dim=4096), HEADS)


@pytest.fixture
def causal(tiny_host):
    return load(NAME)


@pytest.fixture
def vae(tiny_host):
    return load_vae("wan21_vae.safetensors")


@pytest.fixture
def sides(tiny_host):
    return dict(zip(("positive", "negative"), encode("wan21_text.safetensors")))


def sampled(model, sides, latent, **run):
    return call("Sampler", model=model, latent=latent, **sides, **{**RUN, **run})["samples"]


def in_chunks(model, **order):
    return call("Causal", model=model, **{**CAUSAL, **order})


def blank(vae, **size):
    return call("EmptyLatent", vae=vae, **{**SIZE, **size})


def test_the_widgets_are_the_order_of_the_model(causal):
    order = in_chunks(causal, chunk_frames=3, window_frames=9, sink_frames=2, context_noise=0.05).policies.order
    assert order == ChunkByChunk(3, 9, 2, 0.05)
    assert in_chunks(causal).policies.order == ChunkByChunk()


def test_a_run_of_one_chunk_is_a_plain_run_but_for_the_noise_of_its_steps(tiny_host, vae, sides):
    plain, chunk = load("wan21_t2v.safetensors"), in_chunks(load("wan21_t2v.safetensors"), chunk_frames=4)
    run = {"solver": "euler", "cfg": 3.0}
    assert torch.equal(sampled(chunk, sides, blank(vae), **run), sampled(plain, sides, blank(vae), **run))


def test_what_is_made_later_changes_nothing_before(causal, vae, sides):
    noise = torch.randn(1, 16, 4, 6, 8)
    run = {"sigmas": torch.tensor([0.7, 0.0]), "add_noise": False}  # the noise of a seed depends on a video's length
    long, short = (sampled(in_chunks(causal), sides, {"samples": noise[:, :, :frames]}, **run) for frames in (4, 3))
    assert torch.equal(long[:, :, :3], short) and long.isfinite().all()


def test_a_start_picture_stays_and_is_seen(causal, vae, sides):
    start = call("CausalStart", vae=vae, start_image=picture(1, 96, 100), fit="crop", **SIZE)
    assert start["noise_mask"].shape == (1, 1, 4, 6, 8)
    made = sampled(in_chunks(causal), sides, start)
    torch.testing.assert_close(made[:, :, :1], start["samples"][:, :, :1], rtol=0, atol=1e-5)
    other = {**start, "samples": start["samples"] * 2}
    assert not torch.allclose(sampled(in_chunks(causal), sides, other)[:, :, 1:], made[:, :, 1:], atol=1e-3)


def test_a_clip_is_gone_on_with_from_its_last_whole_latent_frames(vae):
    clip = picture(8)
    start = call("CausalStart", vae=vae, start_image=clip, fit="crop", **{**SIZE, "batch_size": 2})
    assert start["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 0, 1, 1]
    expected = vae.encode(clip[3:]).expand(2, -1, -1, -1, -1)
    assert torch.equal(start["samples"][:, :, :2], expected) and not start["samples"][:, :, 2:].any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("swaps", [False, True])
def test_every_kind_of_weights_and_swapped_blocks(form, swaps, tiny_host, models):
    model, vae = in_form(form, models), load_vae("vae.safetensors")
    sides = dict(zip(("positive", "negative"), encode("text.safetensors")))
    memory = {"memory": call("Memory", **MEMORY)} if swaps else {}
    made = sampled(in_chunks(model, window_frames=2), sides, blank(vae), cfg=2.0, **memory)
    expected = sampled(in_chunks(model, window_frames=2), sides, blank(vae), cfg=2.0)
    assert made.isfinite().all() and (made - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_comfyuis_nodes_make_what_ours_make(causal, vae, sides):
    """But for the noise of steps, whose seed is the run's own there, and the picture, which is resized as there."""
    size = {"width": 64, "height": 48, "length": 13, "batch_size": 1}
    shown = picture(1, 96, 100)
    model, latent = CORE_NODES["ARVideoI2V"].execute(NativeModel.of(causal), vae, shown, **size).args
    assert (model.model, model.shift) == (causal, 5.0)
    assert torch.equal(latent["samples"][:, :, :1], vae.encode(fitted(shown, 64, 48)))
    (sampler,) = CORE_NODES["SamplerARVideo"].execute(1).args
    (sigmas,) = CORE_NODES["BasicScheduler"].execute(model, "simple", 2, 1.0).args
    (guider,) = CORE_NODES["CFGGuider"].execute(model, *sides.values(), 1.0).args
    (noise,) = CORE_NODES["RandomNoise"].execute(5).args
    made, _ = CORE_NODES["SamplerCustomAdvanced"].execute(noise, guider, sampler, sigmas, latent).args
    ours = with_policies(causal, lambda policies: replace(policies, order=ChunkByChunk(step_seed=0)))
    torch.testing.assert_close(made["samples"], sampled(ours, sides, latent), rtol=0, atol=1e-5)
    (empty,) = CORE_NODES["EmptyARVideoLatent"].execute(**size).args
    assert empty["samples"].shape == latent["samples"].shape and not empty["samples"].any()


def test_what_a_run_remembers_is_told(causal, vae, sides, caplog):
    with caplog.at_level(logging.INFO, logger="wan_director"):
        sampled(in_chunks(causal, window_frames=2), sides, blank(vae))
    assert "The video of 13 frames is made in 4 chunks of 1 latent frame, one after the other." in caplog.text
    assert "remembers at most 2 of the 4 latent frames at a time, in " in caplog.text
    assert "no causal model by its name" not in caplog.text
    sampled(in_chunks(load("wan21_t2v.safetensors")), sides, blank(vae))
    assert "wan21_t2v.safetensors makes the video chunk by chunk, but is no causal model by its name" in caplog.text


def test_chunks_of_another_size_than_in_the_name_are_told(causal, caplog):
    in_chunks(causal, chunk_frames=3)
    assert "by its name trained on chunks of 1 latent frame, and gets chunks of 3" in caplog.text


def option(name, model, **widgets):
    return call(name, model=model, **widgets)


WINDOWS = {"frames": 5, "overlap": 0, "schedule": "static", "blend": "pyramid", "noise": "fresh"}
TILES = {"tile_width": 32, "tile_height": 32, "overlap": 16}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model, "name a causal model, .* at once would come out badly. Let it go through Wan Causal"),
        (lambda model: in_chunks(in_chunks(model)), "goes chunk by chunk already"),
        (lambda model: in_chunks(option("Windows", model, **WINDOWS)), "windows or tiles is on beside Wan Causal"),
        (lambda _model: in_chunks(load("wan21_camera.safetensors")), "takes more than a prompt"),
        (lambda model: in_chunks(model, chunk_frames=3, window_frames=2), "no room for a chunk of 3"),
        (lambda model: in_chunks(model, chunk_frames=1.5), "chunk_frames must be a whole number, 0 or more, got 1.5"),
        (lambda model: in_chunks(model, sink_frames=0.5), "sink_frames must be a whole number, 0 or more, got 0.5"),
        (lambda model: in_chunks(model, chunk_frames=0), "A chunk has 1 latent frame or more"),
        (
            lambda _model: in_chunks(
                call("LoadModel", model_name=NAME, precision="auto", attention="radial")
            ),
            "'radial' is sparse in the video",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(change, words, causal, vae, sides):
    with pytest.raises(WanDirectorError, match=words):
        sampled(change(causal), sides, blank(vae))


def test_a_pair_of_experts_is_refused(models, tiny_host):
    save_experts(models)
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=0)
    sides = dict(zip(("positive", "negative"), encode("text.safetensors")))
    with pytest.raises(WanDirectorError, match="two experts, which would take turns in every chunk of Wan Causal"):
        sampled(in_chunks(pair), sides, blank(load_vae("vae.safetensors")))


def test_steps_that_leave_noise_are_refused(causal, vae, sides):
    with pytest.raises(WanDirectorError, match="end at sigma 0.5, and each chunk has to be finished"):
        sampled(in_chunks(causal), sides, blank(vae), sigmas=torch.tensor([1.0, 0.5]))


def test_a_native_sampler_is_not_given_a_causal_model(causal):
    with pytest.raises(WanDirectorError, match="a native sampler would make all its frames at once"):
        call("ToNativeModel", model=causal)


def test_a_clip_as_long_as_the_video_leaves_nothing_to_make(vae):
    with pytest.raises(WanDirectorError, match="clip of 13 frames, and a video of 13 has none to make after it"):
        call("CausalStart", vae=vae, start_image=picture(13), fit="crop", **SIZE)
