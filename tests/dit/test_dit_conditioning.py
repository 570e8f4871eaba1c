"""Start, end and CLIP images as the transformer's inputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.dit.conditioning.clip_image import ClipImage
from wan_director.dit.conditioning.start_image import KeyframeImages, keyframe_mask, keyframe_video
from wan_director.dit.conditioning.text import pad_text
from wan_director.dit.inputs import Conditioning, DitInputs

HEIGHT, WIDTH = 32, 48


@pytest.fixture(scope="module")
def pipeline():
    from diffusers import AutoencoderKLWan, WanImageToVideoPipeline

    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=8, num_res_blocks=1).eval()
    return WanImageToVideoPipeline(tokenizer=None, text_encoder=None, vae=vae, scheduler=None)


def latent_inputs(batch: int = 1, frames: int = 3) -> DitInputs:
    latent = torch.zeros(batch, 16, frames, HEIGHT // 8, WIDTH // 8)
    return Conditioning(torch.zeros(1, 512, 8)).inputs(latent, torch.zeros(batch))


@pytest.mark.parametrize("frames", [5, 17])
@pytest.mark.parametrize("with_last", [False, True], ids=["first", "first-and-last"])
def test_image_channels_equal_the_diffusers_pipeline(pipeline, with_last, frames):
    first, last = torch.rand(2, 3, HEIGHT, WIDTH) * 2 - 1
    given_frames = {0: first, -1: last} if with_last else {0: first}
    with torch.no_grad():
        encoded = pipeline.vae.encode(keyframe_video(given_frames, frames)).latent_dist.mode()
        _, expected = pipeline.prepare_latents(
            first[None], 1, 16, HEIGHT, WIDTH, frames, torch.float32, torch.device("cpu"),
            torch.Generator().manual_seed(0), last_image=last[None] if with_last else None,
        )  # fmt: skip
    mask = keyframe_mask(tuple(given_frames), frames, HEIGHT // 8, WIDTH // 8)
    item = KeyframeImages(WAN_2_1.normalize(encoded), mask)
    channels = item.apply(latent_inputs(frames=encoded.shape[2])).image_channels
    assert torch.equal(channels[:, :4], expected[:, :4])
    assert (channels - expected).abs().max() <= 2e-6 * expected.abs().max()


@given(frames=st.integers(0, 20).map(lambda k: 1 + 4 * k), data=st.data())
def test_mask_marks_each_video_frame_in_its_latent_frame(frames, data):
    indices = data.draw(st.sets(st.integers(0, frames - 1)))
    mask = keyframe_mask(sorted(indices), frames, 2, 3)
    latent_frames = 1 + (frames - 1) // 4
    assert mask.shape == (1, 4, latent_frames, 2, 3)
    assert torch.equal(mask, mask[..., :1, :1].expand_as(mask))
    flat = mask[0, :, :, 0, 0].T.flatten()  # latent frame 0's four channels all speak of video frame 0
    assert flat[:3].tolist() == [float(0 in indices)] * 3
    assert flat[3:].tolist() == [float(index in indices) for index in range(frames)]


def test_mask_of_a_first_a_last_and_a_middle_frame():
    columns = keyframe_mask([0, 6, -1], 9, 1, 1)[0, :, :, 0, 0].T
    assert columns.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]]


def test_given_frames_stand_in_their_places_and_the_rest_is_grey():
    first, middle = torch.rand(2, 3, 4, 6)
    video = keyframe_video({0: first, 3: middle}, 5)
    assert video.shape == (1, 3, 5, 4, 6)
    assert torch.equal(video[0, :, 0], first)
    assert torch.equal(video[0, :, 3], middle)
    assert video[0, :, [1, 2, 4]].abs().sum() == 0


def test_items_of_one_sample_serve_a_batch():
    latent = torch.randn(3, 16, 2, 4, 6)
    item = KeyframeImages(torch.randn(1, 16, 2, 4, 6), keyframe_mask([0], 5, 4, 6))
    conditioning = Conditioning(torch.randn(1, 512, 8), (item, ClipImage(torch.randn(1, 257, 10))))
    inputs = conditioning.inputs(latent, torch.zeros(3))
    assert inputs.text.shape == (3, 512, 8)
    assert inputs.image_channels.shape == (3, 20, 2, 4, 6)
    assert inputs.steering[0].features.shape == (3, 257, 10)
    assert torch.equal(inputs.image_channels[0], inputs.image_channels[2])


def test_start_features_come_before_end_features():
    start, end = torch.randn(2, 1, 257, 10)
    (given,) = ClipImage(start, end).apply(latent_inputs()).steering
    assert torch.equal(given.features, torch.cat([start, end], dim=1))


def test_text_is_padded_with_zero_rows():
    text = torch.randn(2, 7, 8)
    padded = pad_text(text, 512)
    assert padded.shape == (2, 512, 8)
    assert torch.equal(padded[:, :7], text)
    assert padded[:, 7:].abs().sum() == 0


def test_bad_keyframes_are_refused_with_numbers():
    image = torch.zeros(3, 4, 4)
    with pytest.raises(InvalidInputError, match="Frame 9 lies outside a clip of 9 frames. Use 0..8."):
        keyframe_mask([9], 9, 1, 1)
    with pytest.raises(InvalidInputError, match="got 8"):
        keyframe_mask([0], 8, 1, 1)
    with pytest.raises(InvalidInputError, match="got 8"):
        keyframe_video({0: image}, 8)
    with pytest.raises(InvalidInputError, match="No frame is given"):
        keyframe_video({}, 5)
    with pytest.raises(InvalidInputError, match="different shapes"):
        keyframe_video({0: image, 1: torch.zeros(3, 4, 6)}, 5)
    with pytest.raises(InvalidInputError, match="given twice"):
        keyframe_video({4: image, -1: image}, 5)


def test_a_text_longer_than_the_model_takes_is_refused():
    with pytest.raises(PairingError, match="513 tokens, the model takes 512"):
        pad_text(torch.zeros(1, 513, 8))
