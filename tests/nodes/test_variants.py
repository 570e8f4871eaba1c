"""TI2V-5B, the image model of Wan 2.2 and VACE through the nodes, on tiny random models of their form."""

from __future__ import annotations

import logging

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError, PairingError, WanDirectorError
from wan_director.common.families import TINY, WAN_2_1, WAN_2_2_5B
from wan_director.dit.conditioning.vace import mask_channels

from .conftest import call, encode, load, load_vae
from .conftest import picture as any_picture

NODES = wan_director.NODE_CLASS_MAPPINGS
pytestmark = pytest.mark.usefixtures("inference")
SIZE = {"width": 64, "height": 64, "frames": 9, "batch_size": 1}
SAMPLER = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "unipc", "schedule": "official", "denoise": 1.0}


def picture(frames: int = 1, height: int = 64, width: int = 64) -> torch.Tensor:
    return any_picture(frames, height, width)


def sample(model, prompts, latent, **changes):
    inputs = {"model": model, "positive": prompts[0], "negative": prompts[1], "latent": latent}
    return call("Sampler", **inputs, **{**SAMPLER, **changes})


def image_to_video(prompts, vae, **changes):
    inputs = {"positive": prompts[0], "negative": prompts[1], "vae": vae, **SIZE, "fit": "crop"}
    return call("ImageToVideo", **{**inputs, **changes})


def vace(prompts, vae, **changes):
    inputs = {"positive": prompts[0], "negative": prompts[1], "vae": vae, **SIZE, "strength": 1.0}
    return call("Vace", **{**inputs, **changes})


def test_ti2v_5b_makes_a_video_from_text():
    vae = load_vae("wan22_vae.safetensors")
    latent = call("EmptyLatent", vae=vae, **SIZE)
    assert latent["samples"].shape == (1, 48, 3, 4, 4)
    sampled = sample(load("ti2v.safetensors"), encode("wan21_text.safetensors"), latent)
    frames = call("Decode", vae=vae, latent=sampled)
    assert frames.shape == (9, 64, 64, 3) and frames.isfinite().all()


@pytest.mark.parametrize(("given", "kept"), [(1, 1), (5, 2)])
def test_ti2v_5b_keeps_its_start_image(given, kept):
    vae, start = load_vae("wan22_vae.safetensors"), picture(given)
    positive, negative, latent = image_to_video(encode("wan21_text.safetensors"), vae, start_image=start, batch_size=2)
    encoded = vae.encode(start)
    # The form of ComfyUI's Wan22ImageToVideoLatent: the frames in the latent, its mask 0 there, the rest at the mean.
    assert torch.equal(latent["samples"][:, :, :kept], encoded.expand(2, -1, -1, -1, -1))
    mean = torch.tensor(WAN_2_2_5B.latent_mean).view(1, 48, 1, 1, 1)
    torch.testing.assert_close(latent["samples"][:, :, kept:], mean.expand(2, -1, 3 - kept, 4, 4))
    assert latent["noise_mask"].shape == (2, 1, 3, 4, 4)
    assert not latent["noise_mask"][:, :, :kept].any() and (latent["noise_mask"][:, :, kept:] == 1).all()
    assert "concat_latent_image" not in positive[0][1]
    sampled = sample(load("ti2v.safetensors"), (positive, negative), latent)["samples"]
    torch.testing.assert_close(sampled[:, :, :kept], encoded.expand(2, -1, -1, -1, -1), rtol=0, atol=1e-5)
    plain = sample(
        load("ti2v.safetensors"), (positive, negative), call("EmptyLatent", vae=vae, **{**SIZE, "batch_size": 2})
    )
    assert not torch.allclose(sampled[:, :, kept:], plain["samples"][:, :, kept:], atol=1e-3)  # the others saw it


def test_ti2v_5b_refuses_what_it_cannot_keep():
    vae, prompts = load_vae("wan22_vae.safetensors"), encode("wan21_text.safetensors")
    for changes in ({"end_image": picture()}, {"start_image": picture(2)}):
        with pytest.raises(InvalidInputError, match=r"takes its first frame, or its first 1 \+ 4k frames, as given"):
            image_to_video(prompts, vae, **changes)
    latent = call("EmptyLatent", vae=vae, **SIZE)
    given = {"concat_latent_image": torch.zeros(1, 48, 3, 4, 4)}
    sides = [[[embedding, {**values, **given}] for embedding, values in side] for side in prompts]
    with pytest.raises(PairingError, match="takes its start image inside the latent.*wan2.2_vae.safetensors"):
        sample(load("ti2v.safetensors"), sides, latent)


def test_sides_of_ti2v_5b_are_multiples_of_32():
    vae = load_vae("wan22_vae.safetensors")
    with pytest.raises(InvalidInputError, match="width must be a multiple of 32 pixels, got 80. Use 64 or 96"):
        call("EmptyLatent", vae=vae, **{**SIZE, "width": 80})
    with pytest.raises(InvalidInputError, match="height must be a multiple of 32 pixels, got 48"):
        call("Encode", vae=vae, images=picture(5, height=48))


@pytest.mark.parametrize(
    ("name", "frames", "words"),
    [("vae", 37, "trained on 33"), ("wan21_vae", 85, "trained on 81"), ("wan22_vae", 125, "trained on 121")],
)
def test_longer_videos_than_trained_are_warned_of(name, frames, words, caplog):
    vae = load_vae(f"{name}.safetensors")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "wan_director"):
        call("EmptyLatent", vae=vae, **{**SIZE, "frames": frames - 4})
        assert not caplog.text
        call("EmptyLatent", vae=vae, **{**SIZE, "frames": frames})
    assert words in caplog.text


def test_the_image_model_of_wan_2_2_runs_without_clip():
    vae, model = load_vae("wan21_vae.safetensors"), load("wan21_i2v.safetensors")
    assert not model.spec.takes_clip
    positive, negative, latent = image_to_video(encode("wan21_text.safetensors"), vae, start_image=picture())
    sampled = sample(model, (positive, negative), latent)
    assert call("Decode", vae=vae, latent=sampled).shape == (9, 64, 64, 3)
    vision = call("LoadClipVision", clip_vision_name="clip.safetensors")
    features = call("ClipVisionEncode", clip_vision=vision, image=picture())
    positive, negative, latent = image_to_video(
        encode("wan21_text.safetensors"), vae, start_image=picture(), clip_vision_start=features
    )
    with pytest.raises(PairingError, match=r"wan21_i2v.safetensors .* takes no CLIP vision features, but clip.safe"):
        sample(model, (positive, negative), latent)


@pytest.mark.parametrize(
    ("model", "vae", "words"),
    [
        (
            "wan21_i2v",
            "wan22_vae",
            r"wan22_vae.* 48 channels, but wan21_i2v.* on 16. Use wan_2.1_vae.*only TI2V-5B uses",
        ),
        ("ti2v", "wan21_vae", r"wan21_vae.* 16 channels, but ti2v.* on 48. Use wan2.2_vae.safetensors.*only TI2V-5B"),
    ],
)
def test_the_vae_of_the_other_wan_2_2_model_is_refused_with_the_rule(model, vae, words):
    latent = call("EmptyLatent", vae=load_vae(f"{vae}.safetensors"), **SIZE)
    with pytest.raises(PairingError, match=words):
        sample(load(f"{model}.safetensors"), encode("wan21_text.safetensors"), latent)


def test_a_latent_of_another_vae_names_the_file_to_decode_it_with():
    with pytest.raises(PairingError, match="16 channels, this VAE decodes 48. Load wan_2.1_vae.safetensors"):
        call("Decode", vae=load_vae("wan22_vae.safetensors"), latent={"samples": torch.zeros(1, 16, 3, 4, 4)})


def test_vace_writes_native_keys():
    """As ComfyUI's WanVaceToVideo: raw latents of the kept and the changed part, and the mask, in lists."""
    vae, prompts = load_vae("vae.safetensors"), encode("text.safetensors")
    video, mask = picture(9), (picture(9).mean(-1) > 0.5).float()
    positive, negative, latent, trim = vace(prompts, vae, control_video=video, control_masks=mask, strength=0.7)
    kept, changed = ((video - 0.5) * part[..., None] + 0.5 for part in (1 - mask, mask))
    for side in (positive, negative):
        values = side[0][1]
        expected = torch.cat([vae.encode(kept), vae.encode(changed)], dim=1)
        torch.testing.assert_close(values["vace_frames"][0], expected)
        assert torch.equal(values["vace_mask"][0], mask_channels(mask))
        assert values["vace_strength"] == [0.7] and len(values["vace_frames"]) == 1
    assert latent["samples"].shape == (1, 16, 3, 8, 8) and trim == 0
    twice = vace((positive, negative), vae, control_video=video)[0][0][1]
    assert twice["vace_strength"] == [0.7, 1.0] and len(twice["vace_frames"]) == len(twice["vace_mask"]) == 2


def test_vace_fills_up_short_clips_and_takes_one_mask_for_all_frames():
    vae, prompts = load_vae("vae.safetensors"), encode("text.safetensors")
    clip = picture(5)
    values = vace(prompts, vae, control_video=clip, control_masks=torch.zeros(1, 64, 64))[0][0][1]
    mask = torch.ones(9, 64, 64)
    mask[:5] = 0
    assert torch.equal(values["vace_mask"][0], mask_channels(mask))
    filled = torch.full((9, 64, 64, 3), 0.5)
    filled[:5] = clip
    torch.testing.assert_close(values["vace_frames"][0][:, :16], vae.encode(filled))


def test_vace_follows_the_control_video_and_trims_references():
    vae, prompts, model = load_vae("vae.safetensors"), encode("text.safetensors"), load("vace.safetensors")
    positive, negative, latent, trim = vace(prompts, vae, control_video=picture(9), reference_image=picture(2, 20, 40))
    values = positive[0][1]
    assert trim == 2 and latent["samples"].shape == values["vace_frames"][0].shape[:1] + (16, 5, 8, 8)
    assert not TINY.normalize(values["vace_frames"][0][:, 16:])[:, :, :2].abs().gt(1e-6).any()
    assert not values["vace_mask"][0][:, :, :2].any()
    sampled = sample(model, (positive, negative), latent)
    assert sampled["samples"].shape[2] == 5
    frames = call("Decode", vae=vae, latent=sampled)
    assert frames.shape == (9, 64, 64, 3)
    trimmed_by_another_node = {**sampled, "samples": sampled["samples"][:, :, trim:]}
    assert torch.equal(call("Decode", vae=vae, latent=trimmed_by_another_node), frames)
    free = sample(model, prompts, latent)["samples"]
    assert not torch.allclose(free, sampled["samples"], atol=1e-3)
    off = vace(prompts, vae, control_video=picture(9), reference_image=picture(2, 20, 40), strength=0.0)
    assert torch.equal(sample(model, off[:2], latent)["samples"], free)


def test_a_reference_stands_whole_on_a_white_ground():
    vae, prompts = load_vae("vae.safetensors"), encode("text.safetensors")
    values = vace(prompts, vae, reference_image=torch.zeros(1, 32, 64, 3))[0][0][1]
    canvas = torch.ones(1, 64, 64, 3)
    canvas[:, 16:48] = 0
    torch.testing.assert_close(values["vace_frames"][0][:, :16, :1], vae.encode(canvas), rtol=0, atol=1e-4)


def test_a_cut_out_reference_lies_on_white():
    vae, prompts = load_vae("vae.safetensors"), encode("text.safetensors")
    cut_out = torch.zeros(1, 32, 64, 4)
    cut_out[:, 8:24, 16:48, 3] = 1
    values = vace(prompts, vae, reference_image=cut_out)[0][0][1]
    canvas = torch.ones(1, 64, 64, 3)
    canvas[:, 24:40, 16:48] = 0
    torch.testing.assert_close(values["vace_frames"][0][:, :16, :1], vae.encode(canvas), rtol=0, atol=1e-4)


def test_a_module_in_the_loader_makes_a_vace_model():
    vae, prompts = load_vae("vae.safetensors"), encode("text.safetensors")
    positive, negative, latent, _ = vace(prompts, vae, control_video=picture(9))
    assert NODES["WanDirectorLoadModel"].validate_inputs("t2v.safetensors", "vace_module.safetensors") is True
    model = load("t2v.safetensors", vace_module="vace_module.safetensors")
    assert "with a VACE module" in model.spec.title
    assert model is load("t2v.safetensors", vace_module="vace_module.safetensors")
    steered = sample(model, (positive, negative), latent)["samples"]
    plain = load("t2v.safetensors")
    assert plain is not model
    free = sample(plain, prompts, latent)["samples"]
    assert not torch.allclose(steered, free, atol=1e-3)
    assert torch.equal(sample(model, prompts, latent)["samples"], free)


@pytest.mark.parametrize("precision", ["fp8_scaled", "bf16"])
def test_a_module_takes_the_precision_of_its_model(precision):
    inputs = {"precision": precision, "attention": "auto", "vace_module": "vace_module.safetensors"}
    model = call("LoadModel", model_name="t2v.safetensors", **inputs)
    with model.residence.loaded() as module:
        weights = [module.get_submodule(f"{blocks}.1.ffn.0").weight for blocks in ("blocks", "vace_blocks")]
        assert {weight.dtype for weight in weights} == {
            torch.float8_e4m3fn if precision == "fp8_scaled" else torch.bfloat16
        }
    positive, negative, latent, _ = vace(
        encode("text.safetensors"), load_vae("vae.safetensors"), control_video=picture(9)
    )
    assert sample(model, (positive, negative), latent)["samples"].isfinite().all()


def test_vace_mistakes_are_refused():
    vae, prompts = load_vae("vae.safetensors"), encode("text.safetensors")
    positive, negative, latent, _ = vace(prompts, vae, control_video=picture(9))
    with pytest.raises(PairingError, match=r"t2v.safetensors .* has no VACE blocks .*VACE-module|VACE_module"):
        sample(load("t2v.safetensors"), (positive, negative), latent)
    with pytest.raises(PairingError, match="prepared for a latent of 32 channels, 3 latent frames of 8 x 8, but"):
        sample(load("vace.safetensors"), (positive, negative), call("EmptyLatent", vae=vae, **{**SIZE, "frames": 5}))
    with pytest.raises(InvalidInputError, match="control_masks must be masks"):
        vace(prompts, vae, control_masks=torch.zeros(1, 9, 64, 64))

    def check(*names: str) -> str:
        with pytest.raises(WanDirectorError) as error:
            NODES["WanDirectorLoadModel"].validate_inputs(*names)
        return str(error.value)

    assert "vace_module.safetensors is a VACE module" in check("vace_module.safetensors")
    assert "t2v.safetensors is a diffusion model" in check("t2v.safetensors", "t2v.safetensors")
    assert "has VACE blocks of its own" in check("vace.safetensors", "vace_module.safetensors")
    assert "belongs onto a text-to-video model" in check("i2v.safetensors", "vace_module.safetensors")
    assert "belongs onto a text-to-video model" in check("ti2v.safetensors", "vace_module.safetensors")
    assert "is not in" in check("t2v.safetensors", "missing.safetensors")


def test_native_vaes_are_known_by_their_channels():
    from wan_director.nodes.sockets.latents import family_of

    class NativeVAE:
        def __init__(self, channels: int) -> None:
            self.latent_channels = channels

    assert (family_of(NativeVAE(16)), family_of(NativeVAE(48))) == (WAN_2_1, WAN_2_2_5B)
