"""Wan Source Video with a Lucy-Edit model: diffusers' pipeline on equal weights, windows, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_2_5B
from wan_director.common.shapes import LatentShape
from wan_director.dit.conditioning.cut import Cut
from wan_director.dit.conditioning.source_video import SourceVideo
from wan_director.engine.sampling.sample import run_sampler
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.sampling.noise import seeded_noise
from wan_director.sampling.schedule import NoiseSchedule

from ...dit.conftest import build_diffusers, official_name
from ..conftest import HEADS, call, dit, encode, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
SAMPLER = {"seed": 3, "steps": 2, "cfg": 5.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
LUCY = "lucy_edit.safetensors"
SIZES = {"text_dim": 4096, "in_channels": 96, "out_channels": 48}
LIMIT = 1e-5
"""Relative to the largest value: two implementations of the VAE and the transformer, each rounding in its own order."""


def prepared(vae: str = "wan22_vae.safetensors", clip: torch.Tensor | None = None):
    prompts = encode("wan21_text.safetensors")
    clip = picture(9, 64) if clip is None else clip
    return call("SourceVideo", positive=prompts[0], negative=prompts[1], vae=load_vae(vae), images=clip)


def sampled(made, model=LUCY, **changes) -> torch.Tensor:
    model = load(model) if isinstance(model, str) else model
    sides = dict(zip(("positive", "negative", "latent"), made))
    return call("Sampler", model=model, **{**sides, **SAMPLER, **changes})["samples"]


def schedulers():
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    unipc = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    return {"euler": FlowMatchEulerDiscreteScheduler(shift=5.0), "unipc": unipc}


def their_vae():
    from diffusers import AutoencoderKLWan

    torch.manual_seed(4)
    vae = AutoencoderKLWan(
        base_dim=8, decoder_base_dim=8, z_dim=48, num_res_blocks=1, in_channels=12, out_channels=12, patch_size=2,
        is_residual=True, scale_factor_spatial=16, latents_mean=list(WAN_2_2_5B.latent_mean),
        latents_std=list(WAN_2_2_5B.latent_std),
    )  # fmt: skip
    return vae.eval().requires_grad_(False)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_an_edit_equals_the_pipeline_of_diffusers(solver, tiny_host, tmp_path):
    """The whole of LucyEditPipeline in float32: the clip through the VAE, and all steps at a guidance scale of 5."""
    from diffusers import LucyEditPipeline
    from PIL import Image

    with torch.inference_mode(False):
        theirs, vae = build_diffusers(dit(**SIZES).config), their_vae()
        save_file({official_name(key): value for key, value in theirs.state_dict().items()}, tmp_path / LUCY, HEADS)
        save_file(vae.state_dict(), tmp_path / "lucy_vae.safetensors")
    pixels = (picture(9, 64, 96) * 255).round()
    frames = [Image.fromarray(frame.to(torch.uint8).numpy()) for frame in pixels]
    text = torch.randn(2, 1, 512, 4096, generator=torch.Generator().manual_seed(5))
    shape = LatentShape(48, 3, 4, 6)
    pipeline = LucyEditPipeline(None, None, vae, schedulers()[solver], theirs, expand_timesteps=True)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        frames, prompt_embeds=text[0], negative_prompt_embeds=text[1], height=64, width=96, num_frames=9,
        num_inference_steps=5, guidance_scale=5.0, generator=torch.Generator().manual_seed(7), output_type="latent",
    ).frames  # fmt: skip

    tiny_host.folders = {"diffusion_models": [tmp_path], "vae": [tmp_path]}
    own_vae = call("LoadVAE", vae_name="lucy_vae.safetensors", precision="fp32")
    sides = [[[side, {}]] for side in text]
    *sides, latent = call("SourceVideo", positive=sides[0], negative=sides[1], vae=own_vae, images=pixels / 255)
    scheduler = pipeline.scheduler
    table = NoiseSchedule(scheduler.sigmas.double(), scheduler.timesteps.double(), starts_from_noise=True)
    of_their_table = type("OfTheirTable", (SamplerSettings,), {"noise_schedule": lambda _self: table})
    settings = of_their_table(seed=7, cfg=5.0, solver=solver)
    model = call("LoadModel", model_name=LUCY, precision="fp32", attention="auto")
    prompts = [prompts_of(model, side, latent, name, 5.0) for side, name in zip(sides, ("positive", "negative"))]
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(7))
    assert torch.equal(noise, seeded_noise(7, shape))
    ours = run_sampler(model, *prompts, torch.zeros(1, *shape), settings)
    assert (ours - expected).abs().max() <= LIMIT * expected.abs().max()
    other = run_sampler(model, *(replaced(side) for side in prompts), torch.zeros(1, *shape), settings)
    assert (other - expected).abs().max() > 1000 * LIMIT * expected.abs().max()


def replaced(prompts):
    """The same prompts with a clip of zeros."""
    (part,) = prompts.parts
    (item,) = part.conditioning.items
    nothing = SourceVideo(torch.zeros_like(item.latent))
    return replace(prompts, parts=(replace(part, conditioning=replace(part.conditioning, items=(nothing,))),))


def test_the_model_sees_the_clip_that_the_vae_encodes():
    clip = picture(9, 64)
    made = prepared(clip=clip)
    model, vae = load(LUCY), load_vae("wan22_vae.safetensors")
    assert model.spec.title == "a Wan 2.2 Lucy-Edit model of another size"
    assert made[2]["samples"].shape == (1, 48, 3, 4, 4) and not made[2]["samples"].any()
    for side, name in zip(made, ("positive", "negative")):
        prompts = prompts_of(model, side, made[2], name, 5.0)
        inputs = prompts.inputs(0, torch.zeros(2, 48, 3, 4, 4), torch.zeros(2))
        expected = WAN_2_2_5B.normalize(vae.encode(clip))
        torch.testing.assert_close(inputs.image_channels, expected.expand(2, -1, -1, -1, -1))


def test_a_cut_of_the_clip_goes_with_the_window_even_where_a_first_frame_would_be_kept():
    latent = torch.randn(1, 48, 6, 4, 8)
    item = SourceVideo(latent)
    for keeps_first in (False, True):
        part = item.window(Cut(2, 5, 6, keeps_first=keeps_first)).latent
        assert torch.equal(part, latent[:, :, 2:5])
    with pytest.raises(PairingError, match="made for 6 latent frames, but the latent has 7"):
        item.window(Cut(0, 3, 7))


def test_windows_edit_a_long_clip():
    made = prepared(clip=picture(33, 64))
    widgets = {"overlap": 4, "schedule": "static", "blend": "pyramid", "noise": "repeated"}
    whole = sampled(made)
    wide = sampled(made, call("Windows", model=load(LUCY), frames=33, **widgets))
    cut = sampled(made, call("Windows", model=load(LUCY), frames=9, **widgets))
    assert torch.equal(wide, whole)
    assert cut.shape == whole.shape and cut.isfinite().all() and not torch.equal(cut, whole)


def test_another_clip_gives_another_edit():
    first, second = sampled(prepared()), sampled(prepared(clip=picture(9, 64).flip(2)))
    assert (first - second).abs().max() > 1e-4 * first.abs().max()


@pytest.mark.parametrize("model", ["ti2v.safetensors", "wan21_t2v.safetensors", "wan21_i2v.safetensors"])
def test_a_model_that_edits_nothing_refuses_the_clip(model):
    is_5b = model.startswith("ti2v")
    made = prepared("wan22_vae.safetensors" if is_5b else "wan21_vae.safetensors")
    with pytest.raises(PairingError, match="carries a clip to edit, from Wan Source Video, but .* takes none. Load"):
        sampled(made, model)


def test_a_lucy_edit_model_refuses_what_is_no_clip_to_edit():
    prompts = encode("wan21_text.safetensors")
    size = {"width": 64, "height": 64, "frames": 9, "batch_size": 1}
    vae = load_vae("wan22_vae.safetensors")
    latent = call("EmptyLatent", vae=vae, **size)
    with pytest.raises(PairingError, match="edits a clip and needs it. Connect Wan Source Video between"):
        sampled((*prompts, latent))
    frames = {"start_image": picture(1, 64), "fit": "crop"}
    *sides, latent = call("FunControl", positive=prompts[0], negative=prompts[1], vae=vae, **size, **frames)
    with pytest.raises(PairingError, match="edits a whole clip. Connect Wan Source Video in place"):
        sampled((*sides, latent))
    with pytest.raises(PairingError, match="wan21_vae.safetensors .* Use wan2.2_vae.safetensors"):
        sampled(prepared("wan21_vae.safetensors"))


def test_a_latent_of_another_length_is_refused():
    positive, negative, _ = prepared()
    latent = call("EmptyLatent", vae=load_vae("wan22_vae.safetensors"), width=64, height=64, frames=13, batch_size=1)
    with pytest.raises(PairingError, match="Connect the LATENT of the same node"):
        sampled((positive, negative, latent))


@pytest.mark.parametrize(
    ("clip", "sentence"),
    [
        (picture(8, 64), r"A clip has 1 \+ 4k frames, got 8"),
        (picture(9, 48), "multiple"),
        ("clip", "images"),
    ],
    ids=["length", "size", "kind"],
)
def test_a_clip_that_cannot_be_encoded_is_refused(clip, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        prepared(clip=clip)


def test_a_second_clip_does_not_replace_the_first_in_silence():
    positive, negative, _latent = prepared()
    with pytest.raises(InvalidInputError, match="has a source clip already"):
        call(
            "SourceVideo", positive=positive, negative=negative, vae=load_vae("wan22_vae.safetensors"),
            images=picture(9, 64),
        )  # fmt: skip


@pytest.mark.parametrize("wrong", [None, "x", 5, [1]])
def test_what_is_no_conditioning_is_refused_in_a_sentence(wrong):
    negative = encode("wan21_text.safetensors")[1]
    with pytest.raises(InvalidInputError, match="conditioning must be a list of"):
        call(
            "SourceVideo", positive=wrong, negative=negative, vae=load_vae("wan22_vae.safetensors"),
            images=picture(9, 64),
        )  # fmt: skip
