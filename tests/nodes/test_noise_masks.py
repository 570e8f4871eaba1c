"""What a LATENT says beside its samples: noise masks of every native form, and the numbers of a batch's noises."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from wan_director.common.errors import InvalidInputError
from wan_director.common.families import TINY, WAN_2_2_5B
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.sockets.noise_masks import latent_mask

from .conftest import call, encode, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
SAMPLER = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def sample(latent, model="t2v", text="text", **changes):
    positive, negative = encode(f"{text}.safetensors")
    inputs = {"model": load(f"{model}.safetensors"), "positive": positive, "negative": negative, "latent": latent}
    return call("Sampler", **inputs, **{**SAMPLER, **changes})["samples"]


def clip_latent(batch: int = 1) -> dict:
    samples = call("Encode", vae=load_vae("vae.safetensors"), images=picture(9))["samples"]
    return {"samples": samples.repeat(batch, 1, 1, 1, 1)}


def native_mask(mask: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """ComfyUI's reshape_mask for video latents, restated, without its repeats."""
    if mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, mask.shape[-2], mask.shape[-1])
    return F.interpolate(mask, size=shape[2:], mode="trilinear")


@pytest.mark.parametrize(
    "shape", [(40, 56), (9, 48, 64), (1, 1, 6, 8), (9, 1, 48, 64), (1, 1, 3, 6, 8), (2, 1, 9, 12, 16)]
)
def test_masks_of_every_native_form_come_to_the_latents_size(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    latent = torch.zeros(2, 16, 3, 6, 8)
    assert torch.equal(latent_mask(mask, latent), native_mask(mask, latent.shape))


def test_a_mask_keeps_what_is_black_and_makes_what_is_white():
    latent = clip_latent()
    mask = torch.zeros(48, 64)
    mask[:, 32:] = 1
    sampled = sample({**latent, "noise_mask": mask})
    kept = TINY.denormalize(TINY.normalize(latent["samples"]))
    assert torch.equal(sampled[..., :3], kept[..., :3])
    assert not torch.allclose(sampled[..., 5:], kept[..., 5:], atol=0.1)
    whole = sample(latent)
    assert not torch.equal(sampled[..., 5:], whole[..., 5:])  # it saw what is kept


@pytest.mark.parametrize("solver", ["euler", "unipc", "dpmpp_2m", "lcm", "euler_ancestral"])
@pytest.mark.parametrize("denoise", [0.6, 1.0])
def test_outside_a_mask_of_each_frame_an_encoded_clip_stays_whatever_the_solver(solver, denoise):
    """Video to video on a text-to-video model: the clip by Wan Encode Video, the mask by Set Latent Noise Mask."""
    masks = torch.zeros(9, 48, 64)
    masks[5:, :, 16:] = 1  # the last latent frame, and by half the one before
    latent = CORE_NODES["SetLatentNoiseMask"].execute(samples=clip_latent(2), mask=masks).args[0]
    sampled = sample(latent, solver=solver, denoise=denoise)
    kept = TINY.denormalize(TINY.normalize(clip_latent(2)["samples"]))
    outside = latent_mask(latent["noise_mask"], latent["samples"]).expand_as(kept) == 0
    assert 0.3 < outside.float().mean() < 0.9
    assert torch.equal(sampled[outside], kept[outside])
    assert (sampled[:, :, 2, :, 3:] - kept[:, :, 2, :, 3:]).abs().mean() > 1e-2


def test_a_white_mask_is_no_mask_to_the_bit():
    latent = clip_latent()
    assert torch.equal(sample({**latent, "noise_mask": torch.ones(9, 48, 64)}), sample(latent))


def test_ti2v_5b_keeps_a_part_of_its_frames():
    generator = torch.Generator().manual_seed(4)
    samples = torch.randn(1, 48, 3, 4, 4, generator=generator)
    half = torch.ones(1, 1, 3, 4, 4)
    half[..., :2] = 0
    sampled = sample({"samples": samples, "noise_mask": half}, "ti2v", "wan21_text")
    kept = WAN_2_2_5B.denormalize(WAN_2_2_5B.normalize(samples))
    assert torch.equal(sampled[..., :2], kept[..., :2]) and not torch.allclose(
        sampled[..., 2:], kept[..., 2:], atol=0.1
    )


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.full((6, 8), 255.0), "from 0 .keep. to 1 .make anew., got 255 to 255"),
        (torch.full((6, 8), float("nan")), "from 0 .keep. to 1"),
        (torch.ones(8), r"got \[8\]"),
        (torch.ones(0, 6, 8), r"got \[0, 6, 8\]"),
        (torch.ones(3, 1, 3, 6, 8), "has 1 videos of 16 channels"),
        ("white", "got a text. Make it with Set Latent Noise Mask, or remove it"),
    ],
)
def test_what_is_no_mask_is_refused_in_a_sentence(mask, words):
    with pytest.raises(InvalidInputError, match=words):
        sample({**clip_latent(), "noise_mask": mask})


@pytest.mark.parametrize("solver", ["euler", "lcm", "euler_ancestral", "dpmpp_2m_sde", "dpmpp_3m_sde", "seeds_2"])
def test_a_video_of_a_batch_is_made_again_by_its_number(solver):
    latent = {"samples": torch.zeros(3, 16, 3, 6, 8)}
    batch, numbered = sample(latent, solver=solver), sample({**latent, "batch_index": [0, 1, 2]}, solver=solver)
    assert torch.equal(batch, numbered)
    for number in range(3):
        one = sample({"samples": latent["samples"][:1], "batch_index": [number]}, solver=solver)
        torch.testing.assert_close(batch[number : number + 1], one, rtol=0, atol=1e-5)
    alone = sample({"samples": latent["samples"][:1]}, solver=solver)
    torch.testing.assert_close(batch[:1], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(one, alone, atol=0.1)


def test_the_kept_part_of_a_numbered_video_is_noised_as_alone():
    """With ddim, whose kept part is shown with noise of the steps."""
    clip, mask = clip_latent()["samples"], torch.zeros(1, 1, 3, 6, 8)
    mask[..., :4] = 1
    several = {"samples": clip.repeat(2, 1, 1, 1, 1), "batch_index": [3, 0], "noise_mask": mask}
    alone = {"samples": clip, "batch_index": [3], "noise_mask": mask}
    made, own = (sample(latent, solver="ddim") for latent in (several, alone))
    torch.testing.assert_close(made[:1], own, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([0, 1], "numbers 2 videos, but the latent has 1"),
        ([-1], "from 0 to 4095, got -1 to -1"),
        ([10**9], "from 0 to 4095"),
        (["a"], "list of whole numbers, got a list"),
        (3, "list of whole numbers, got a number"),
    ],
)
def test_numbers_that_count_no_videos_are_refused(indices, words):
    with pytest.raises(InvalidInputError, match=words):
        sample({"samples": torch.zeros(1, 16, 3, 6, 8), "batch_index": indices})
