"""Wan SVI Conditioning, and the node of ComfyUI-KJNodes: anchor, end of the clip before, zeros of the model."""

from __future__ import annotations

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import TINY, WAN_2_1
from wan_director.common.shapes import latent_frames, video_frames
from wan_director.media.joining import join_clips
from wan_director.nodes.conditioning.entries import prompts_of

from ..conftest import call, encode, load, load_vae, picture
from ..headless.conftest import core

pytestmark = pytest.mark.usefixtures("inference")
SAMPLER = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def latent(frames: int, *, batch: int = 1, channels: int = 16, height: int = 6, width: int = 8) -> dict:
    generator = torch.Generator().manual_seed(frames)
    return {"samples": torch.randn(batch, channels, frames, height, width, generator=generator)}


def sides() -> dict:
    prompts = encode("wan21_text.safetensors")
    return {"positive": prompts[0], "negative": prompts[1]}


def svi(**changes):
    inputs = {**sides(), "anchor_samples": latent(1), "frames": 17, "motion_latents": 1}
    return call("SVI", **{**inputs, **changes})


def restated(anchor, previous, frames: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """In the units of the model: anchor, the last latents before, zeros; known is the first latent frame alone."""
    mean = torch.tensor(WAN_2_1.latent_mean).view(1, 16, 1, 1, 1)
    std = torch.tensor(WAN_2_1.latent_std).view(1, 16, 1, 1, 1)
    shown = torch.zeros(1, 16, (frames + 3) // 4, *anchor.shape[-2:])
    shown[:, :, :1] = (anchor - mean) / std
    if previous is not None:
        shown[:, :, 1 : 1 + count] = (previous[:, :, previous.shape[2] - count :] - mean) / std
    known = torch.zeros(1, 4, *shown.shape[2:])
    known[:, :, 0] = 1
    return known, shown


@pytest.mark.parametrize(("count", "frames"), [(0, 17), (1, 17), (1, 81), (3, 17), (4, 17)])
def test_the_model_sees_anchor_motion_and_zeros(count, frames):
    anchor, previous = latent(1), latent(5) if count else None
    positive, negative, blank = svi(
        anchor_samples=anchor, prev_samples=previous, frames=frames, motion_latents=max(count, 1)
    )
    model = load("wan21_i2v.safetensors")
    inputs = prompts_of(model, positive, blank, "positive", 5.0).inputs(0, blank["samples"], torch.zeros(1))
    known, shown = restated(anchor["samples"], previous and previous["samples"], frames, count)
    channels = inputs.image_channels
    assert torch.equal(channels[:, :4], known)
    torch.testing.assert_close(channels[:, 4:], shown, rtol=0, atol=1e-6)
    assert not channels[:, 4:, 1 + count :].any()  # zeros exactly
    assert negative[0][1]["concat_latent_image"] is positive[0][1]["concat_latent_image"]
    assert not blank["samples"].any() and blank["samples"].shape[2] == latent_frames(frames)
    sampled = call("Sampler", model=model, positive=positive, negative=negative, latent=blank, **SAMPLER)["samples"]
    assert sampled.isfinite().all()


@pytest.mark.parametrize("previous", [None, latent(5)])
def test_the_node_of_kjnodes_gives_the_same(previous):
    ours = svi(prev_samples=previous, motion_latents=2)
    theirs = core(
        "WanImageToVideoSVIPro", **sides(), length=17, anchor_samples=latent(1), motion_latent_count=2,
        prev_samples=previous,
    )  # fmt: skip
    for mine, other in zip(ours[:2], theirs[:2]):
        for key in ("concat_latent_image", "concat_mask"):
            assert torch.equal(mine[0][1][key], other[0][1][key])
    assert torch.equal(ours[2]["samples"], theirs[2]["samples"])


def test_the_node_of_kjnodes_shows_no_motion_with_a_count_of_0_and_all_there_is_with_too_many(caplog):
    inputs = {**sides(), "length": 17, "anchor_samples": latent(1)}
    without = core("WanImageToVideoSVIPro", **inputs, motion_latent_count=0, prev_samples=latent(5))
    first = svi()
    assert torch.equal(without[0][0][1]["concat_latent_image"], first[0][0][1]["concat_latent_image"])
    with caplog.at_level("WARNING", logger="wan_director"):
        everything = core("WanImageToVideoSVIPro", **inputs, motion_latent_count=9, prev_samples=latent(3))
    assert "fewer than 9 latent frames" in caplog.text
    assert torch.equal(everything[0][0][1]["concat_latent_image"][:, :, 1:4], latent(3)["samples"])


def test_the_latents_of_our_own_nodes_say_of_which_family_they_are():
    """Zeros of the model are other numbers in another family; the bundled one has its own."""
    vae, prompts = load_vae("vae.safetensors"), encode("text.safetensors")
    anchor = call("Encode", vae=vae, images=picture(1))
    before = call("Encode", vae=vae, images=picture(9))
    positive, negative, blank = call(
        "SVI", positive=prompts[0], negative=prompts[1], anchor_samples=anchor, frames=9, motion_latents=1,
        prev_samples=before,
    )  # fmt: skip
    nothing = TINY.denormalize(torch.zeros(1, 16, 1, 6, 8))
    assert torch.equal(positive[0][1]["concat_latent_image"][:, :, 2:], nothing)
    sampled = call(
        "Sampler", model=load("i2v.safetensors"), positive=positive, negative=negative, latent=blank, **SAMPLER
    )
    frames = call("Decode", vae=vae, latent=sampled)
    assert frames.shape == (9, 48, 64, 3)
    again = call("SVI", positive=prompts[0], negative=prompts[1], anchor_samples=anchor, frames=9, motion_latents=1,
                 prev_samples=sampled)  # fmt: skip
    assert torch.equal(again[0][0][1]["concat_latent_image"][:, :, 1:2], sampled["samples"][:, :, -1:])


def test_a_noise_mask_is_left_out_and_that_is_told(caplog):
    masked = latent(5) | {"noise_mask": torch.zeros(1, 1, 5, 6, 8)}
    with caplog.at_level("INFO", logger="wan_director"):
        positive, _, blank = svi(prev_samples=masked)
    assert [line for line in caplog.messages if "noise mask" in line] == [
        "prev_samples comes with a noise mask, which says nothing about the next clip: it is left out."
    ]
    plain = svi(prev_samples=latent(5))[0]
    assert torch.equal(positive[0][1]["concat_latent_image"], plain[0][1]["concat_latent_image"])
    assert "noise_mask" not in blank


def test_one_anchor_serves_several_videos():
    positive, _, blank = svi(prev_samples=latent(5, batch=3))
    assert blank["samples"].shape[0] == 3 and positive[0][1]["concat_latent_image"].shape[0] == 3
    several, _, blank = svi(anchor_samples=latent(1, batch=2))
    assert blank["samples"].shape[0] == 2 and several[0][1]["concat_latent_image"].shape[0] == 2


@pytest.mark.parametrize("motion_latents", [1, 2])
@pytest.mark.parametrize("clips", [2, 3])
def test_later_clips_repeat_4m_plus_1_frames(motion_latents, clips):
    """The arithmetic of the help page: the first latent frame is one frame, each motion latent four."""
    frames, repeated = 81, 4 * motion_latents + 1
    assert video_frames(1 + motion_latents) == repeated
    film = torch.zeros(frames, 4, 4, 3)
    for _ in range(clips - 1):
        clip = torch.zeros(frames, 4, 4, 3)
        by_dropping_one = join_clips(film, clip[1:], repeated - 1, "frames of a")
        film = join_clips(film, clip, repeated, "frames of a")
        assert by_dropping_one.shape == film.shape
    assert len(film) == frames + (clips - 1) * (frames - repeated)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prev_samples": latent(5, height=8)}, InvalidInputError, "8 x 8 and anchor_samples .* 8 x 6"),
        ({"prev_samples": latent(5), "motion_latents": 6}, InvalidInputError, "6 motion latents .* has 5 latent"),
        ({"prev_samples": latent(5), "motion_latents": 5}, InvalidInputError,
         "are 6 latent frames, and a clip of 17 frames has 5. Use fewer motion latents, or at least 21 frames"),
        ({"motion_latents": 0}, InvalidInputError, "At least 1 motion latent is shown, got 0"),
        ({"anchor_samples": latent(1, batch=2), "prev_samples": latent(5, batch=3)}, InvalidInputError,
         "holds 3 videos and anchor_samples 2. Give one anchor"),
        ({"anchor_samples": latent(1, channels=48)}, PairingError, "anchor_samples has 48 channels, .*use Wan"),
        ({"prev_samples": latent(5, channels=48)}, PairingError, "prev_samples has 48 channels"),
        ({"anchor_samples": {"samples": torch.zeros(1, 16, 1, 6, 8)}}, InvalidInputError, "is a blank latent"),
        ({"anchor_samples": None}, InvalidInputError, "A latent must be a dict"),
        ({"anchor_samples": {"samples": torch.zeros(1, 16, 6, 8)}}, InvalidInputError, "5 dimensions"),
        ({"frames": 16}, InvalidInputError, r"1 \+ 4k frames, got 16"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_sentence(changes, error, words):
    with pytest.raises(error, match=words) as refusal:
        svi(**changes)
    assert "\n" not in str(refusal.value)


def test_latents_of_two_families_are_refused():
    anchor = call("Encode", vae=load_vae("vae.safetensors"), images=picture(1))
    before = call("Encode", vae=load_vae("wan21_vae.safetensors"), images=picture(9))
    with pytest.raises(PairingError, match="are of two kinds of models .*Encode the anchor with the VAE"):
        svi(anchor_samples=anchor, prev_samples=before)


def test_a_wrong_length_is_refused_before_anything_runs():
    node = wan_director.NODE_CLASS_MAPPINGS["WanDirectorSVI"]
    assert node.validate_inputs(frames=81) is True and node.validate_inputs() is True
    with pytest.raises(InvalidInputError, match="got 80"):
        node.validate_inputs(frames=80)
