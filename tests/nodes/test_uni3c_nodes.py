"""Load Wan Uni3C and Wan Uni3C: what reaches the model, where in the steps, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import PairingError, WanDirectorError
from wan_director.engine.models import with_policies
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.sampling.windows import SlidingWindows

from .conftest import HEADS, call, dit, encode, load_vae, picture, save_model

NAME = "uni3c.safetensors"
SIZE = {"width": 64, "height": 48, "frames": 9, "batch_size": 1}
RUN = {"steps": 4, "cfg": 1.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "seed": 5, "denoise": 1.0}
FULL = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "fit": "crop"}


@pytest.fixture
def vae(tiny_host):
    return load_vae("wan21_vae.safetensors")


@pytest.fixture
def sides(tiny_host):
    return dict(zip(("positive", "negative"), encode("wan21_text.safetensors")))


def load(name: str = "wan21_t2v.safetensors", **inputs):
    module = call("LoadUni3C", uni3c_name=NAME)
    return call("LoadModel", model_name=name, precision="fp32", attention="auto", module=module, **inputs)


def prepared(vae, sides, frames=9, **widgets):
    latent = call("EmptyLatent", vae=vae, **SIZE)
    made = call("Uni3C", **sides, vae=vae, latent=latent, render_video=picture(frames, 96, 100), **{**FULL, **widgets})
    return dict(zip(("positive", "negative"), made)), latent


def sampled(model, sides, latent, **run):
    return call("Sampler", model=model, latent=latent, **sides, **{**RUN, **run})["samples"]


def test_a_model_with_the_module_follows_a_render_and_without_one_is_as_before(vae, sides):
    model = load()
    assert "with the Uni3C module" in model.spec.title
    plain = call("LoadModel", model_name="wan21_t2v.safetensors", precision="fp32", attention="auto")
    followed, latent = prepared(vae, sides)
    alone = sampled(plain, sides, latent)
    assert torch.equal(sampled(model, sides, latent), alone)
    assert not torch.allclose(sampled(model, followed, latent), alone, atol=1e-4)
    off, _ = prepared(vae, sides, strength=0.0)
    assert torch.equal(sampled(model, off, latent), alone)


def test_it_counts_in_its_part_of_the_steps(vae, sides):
    """Of four steps at shift 5: sigma 1, 0.94, 0.83, 0.63; the first half of a schedule ends at 0.83."""
    model, taken = load(), []
    followed, latent = prepared(vae, sides, end_percent=0.5)
    block = model.residence.module.get_submodule("controlnet_blocks.0")
    hook = block.register_forward_hook(lambda *_call: taken.append(1))
    sampled(model, followed, latent)
    hook.remove()
    assert len(taken) == 3
    (item,) = prompts_of(model, followed["positive"], latent, "positive", 5.0).parts[0].conditioning.items
    assert (item.first_sigma, round(item.last_sigma, 4)) == (1.0, 0.8333)


def test_an_image_model_swapped_blocks_and_windows(vae, sides):
    memory = call(
        "Memory", mode="manual", budget="leave free", gigabytes=1.0, blocks_to_swap=3, pinned_ram=0.0,
        text_encoder="auto", vae="auto", vae_strips=0, feed_forward_tokens=64,
    )  # fmt: skip
    model = load("wan21_i2v.safetensors")
    positive, negative, latent = call("ImageToVideo", **sides, vae=vae, start_image=picture(), fit="crop", **SIZE)
    followed, _ = prepared(vae, {"positive": positive, "negative": negative})
    made = sampled(model, followed, latent, cfg=2.0)
    assert torch.equal(sampled(model, followed, latent, cfg=2.0, memory=memory), made)
    cut = with_policies(model, lambda policies: replace(policies, windows=SlidingWindows(2, 1)))
    assert sampled(cut, followed, latent).isfinite().all()


def test_a_shorter_render_stands_still_and_a_longer_one_is_cut(vae, sides, caplog):
    with caplog.at_level(logging.INFO, logger="wan_director"):
        prepared(vae, sides, frames=5)
        prepared(vae, sides, frames=12)
    assert "render_video has 5 frames of 9; the last one stands still." in caplog.text
    assert "render_video has 12 frames; the first 9 are used." in caplog.text


@pytest.mark.parametrize(("side", "leads"), [("positive", "towards"), ("negative", "away from")])
def test_a_render_in_one_prompt_alone_is_told(side, leads, vae, sides, caplog):
    model, (followed, latent) = load(), prepared(vae, sides)
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        sampled(model, followed, latent, cfg=2.0)
        sampled(model, {**sides, side: followed[side]}, latent, cfg=1.0)
        assert "guidance leads" not in caplog.text
        sampled(model, {**sides, side: followed[side]}, latent, cfg=2.0)
    assert f"The {side} prompt carries what steers Uni3C and the " in caplog.text
    assert f"guidance leads {leads} it. Connect both outputs" in caplog.text


@pytest.mark.parametrize(
    ("widgets", "words"),
    [
        ({"strength": 11.0}, "a strength from -10 to 10"),
        ({"strength": float("nan")}, "a strength from -10 to 10"),
        ({"start_percent": 0.6, "end_percent": 0.5}, "0.6 to 0.5. Usual are 1, and 0 to 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(widgets, words, vae, sides):
    with pytest.raises(WanDirectorError, match=words):
        prepared(vae, sides, **widgets)


@pytest.mark.parametrize("other", [{"frames": 17}, {"width": 96}, {"height": 80}])
def test_a_latent_of_another_size_than_it_was_prepared_for_is_refused(other, vae, sides):
    followed, _ = prepared(vae, sides)
    latent = call("EmptyLatent", vae=vae, **{**SIZE, **other})
    with pytest.raises(PairingError, match="rendered video was prepared for a latent of 16 channels, 3 .*Prepare it"):
        sampled(load(), followed, latent)


def test_the_vae_of_another_model_is_refused(vae, sides):
    given = {**sides, "latent": call("EmptyLatent", vae=vae, **SIZE), "render_video": picture(9), **FULL}
    with pytest.raises(WanDirectorError, match="Uni3C works on latents of the Wan 2.1 VAE, and this VAE is that of"):
        call("Uni3C", vae=load_vae("wan22_vae.safetensors"), **given)


def test_models_that_do_not_go_with_it_are_refused(vae, sides, models):
    followed, latent = prepared(vae, sides)
    plain = call("LoadModel", model_name="wan21_t2v.safetensors", precision="fp32", attention="auto")
    with pytest.raises(WanDirectorError, match="has no Uni3C control net and cannot follow a rendered video"):
        sampled(plain, followed, latent)
    save_model(models / "diffusion_models" / "narrow.safetensors", dit(text_dim=4096, dim=64), HEADS)
    with pytest.raises(WanDirectorError, match="for Wan 2.1 models of width 48 with 2 blocks or more, but narrow"):
        load("narrow.safetensors")
    with pytest.raises(WanDirectorError, match="missing.safetensors is not in .*model_patches"):
        call("LoadUni3C", uni3c_name="missing.safetensors")
    with pytest.raises(WanDirectorError, match="module must be the module of Load Wan Uni3C"):
        call("LoadModel", model_name="wan21_t2v.safetensors", precision="fp32", attention="auto", module=plain)


def test_a_model_file_is_no_module_and_a_module_no_model(tiny_host, models):
    (models / "diffusion_models" / NAME).write_bytes((models / "model_patches" / NAME).read_bytes())
    with pytest.raises(WanDirectorError, match="Uni3C module.*models/model_patches"):
        call("LoadModel", model_name=NAME, precision="auto", attention="auto")
    (models / "diffusion_models" / NAME).unlink()


def native(sides, name: str = "wan21_t2v.safetensors"):
    """The model of ComfyUI's loaders, with the part of its loader of patches."""
    (model,) = CORE_NODES["UNETLoader"].execute(name, "default").args
    (patch,) = CORE_NODES["ModelPatchLoader"].execute(NAME).args
    return model, patch


def applied(model, patch, vae, frames: int = 9, **widgets):
    given = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0} | widgets
    return (
        CORE_NODES["WanUni3CControlnetApply"]
        .execute(model, patch, vae, render_video=picture(frames, 48, 64), **given)
        .args[0]
    )


def test_comfyuis_node_on_the_command_line_follows_as_ours(vae, sides):
    """A render of the video's own size, in each kind of sampler; the model's LoRAs, shift and policies stay."""
    latent = call("EmptyLatent", vae=vae, **SIZE)
    ours = call("Uni3C", **sides, vae=vae, latent=latent, render_video=picture(5, 48, 64), **{**FULL, "strength": 0.7})
    model, patch = native(sides)
    followed = applied(model, patch, vae, frames=5, strength=0.7)
    followed = CORE_NODES["ModelSamplingSD3"].execute(followed, 5.0).args[0]
    run = {"seed": 5, "steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    made = CORE_NODES["KSampler"].execute(
        followed, **run, **sides, latent_image=latent, denoise=1.0
    ).args[0]["samples"]  # fmt: skip
    advanced = CORE_NODES["KSamplerAdvanced"].execute(
        followed, "enable", run["seed"], *list(run.values())[1:], **sides, latent_image=latent, start_at_step=0,
        end_at_step=100, return_with_leftover_noise="disable",
    ).args[0]["samples"]  # fmt: skip
    guider = CORE_NODES["CFGGuider"].execute(followed, **sides, cfg=2.0).args[0]
    sigmas = CORE_NODES["BasicScheduler"].execute(followed, "simple", 4, 1.0).args[0]
    sampler, noise = CORE_NODES["KSamplerSelect"].execute("euler").args[0], CORE_NODES["RandomNoise"].execute(5).args[0]
    custom = CORE_NODES["SamplerCustomAdvanced"].execute(noise, guider, sampler, sigmas, latent).args[0]["samples"]
    auto = call(
        "LoadModel", model_name="wan21_t2v.safetensors", precision="auto", attention="auto",
        module=call("LoadUni3C", uni3c_name=NAME),
    )  # fmt: skip
    expected = sampled(auto, dict(zip(("positive", "negative"), ours)), latent, cfg=2.0)
    alone = CORE_NODES["ModelSamplingSD3"].execute(model, 5.0).args[0]
    plain = CORE_NODES["KSampler"].execute(alone, **run, **sides, latent_image=latent, denoise=1.0).args[0]["samples"]
    assert torch.equal(made, expected) and torch.equal(advanced, expected)
    torch.testing.assert_close(custom, expected, rtol=0, atol=2e-5)  # its noise levels are numbers of 32 bits
    assert not torch.allclose(plain, expected, atol=1e-4)


def test_what_it_cannot_be_put_onto_is_refused(vae, sides):
    model, patch = native(sides)
    followed = applied(model, patch, vae)
    with pytest.raises(WanDirectorError, match="follows a rendered video already, and Uni3C follows one. Remove one"):
        applied(followed, patch, vae)
    with pytest.raises(WanDirectorError, match="which Wan From Native cannot take along. Put Wan Uni3C between"):
        call("FromNative", model=followed, attention="sdpa")
    with pytest.raises(WanDirectorError, match="model_patch must be the part of ModelPatchLoader"):
        applied(model, 3, vae)
    with pytest.raises(WanDirectorError, match="a strength from -10 to 10 and a part of the steps"):
        applied(model, patch, vae, end_percent=0.0)
    (wide,) = CORE_NODES["UNETLoader"].execute("ti2v.safetensors", "default").args
    with pytest.raises(WanDirectorError, match="Uni3C for Wan 2.1 models of width 48"):
        applied(wide, patch, vae)
