"""Wan Extend Video on tiny random models: the next clip is given what Wan Image To Video would be given."""

from __future__ import annotations

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.conditioning.entries import prompts_of

from ..conftest import call, encode, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
NODE = wan_director.NODE_CLASS_MAPPINGS["WanDirectorExtend"]
SAMPLER = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
LINES = {"i2v": "text", "wan21_i2v": "wan21_text", "ti2v": "wan21_text"}
VAES = {"i2v": "vae", "wan21_i2v": "wan21_vae", "ti2v": "wan22_vae"}


def extend(prompts, vae, **changes):
    inputs = {"positive": prompts[0], "negative": prompts[1], "vae": vae, "frames": 9, "overlap": 5, "fit": "crop"}
    return call("Extend", **{**inputs, **changes})


def image_to_video(prompts, vae, **changes):
    inputs = {"positive": prompts[0], "negative": prompts[1], "vae": vae, "width": 64, "height": 64, "frames": 9}
    return call("ImageToVideo", **{**inputs, "batch_size": 1, "fit": "crop", **changes})


def sampled(model: str, positive, negative, latent) -> torch.Tensor:
    return call("Sampler", model=model, positive=positive, negative=negative, latent=latent, **SAMPLER)["samples"]


def assert_same_bits(ours, theirs) -> None:
    for mine, other in zip(ours[:2], theirs[:2]):
        assert len(mine) == len(other)
        for (embedding, values), (other_embedding, other_values) in zip(mine, other):
            assert torch.equal(embedding, other_embedding) and values.keys() == other_values.keys()
            for key, value in values.items():
                assert torch.equal(value, other_values[key]) if isinstance(value, torch.Tensor) else key, key
    assert ours[2].keys() == theirs[2].keys()
    assert torch.equal(ours[2]["samples"], theirs[2]["samples"])
    assert ours[2].get("noise_mask") is None or torch.equal(ours[2]["noise_mask"], theirs[2]["noise_mask"])


@pytest.mark.parametrize("overlap", [1, 5])
@pytest.mark.parametrize("name", LINES)
def test_it_gives_what_image_to_video_gives_for_the_same_last_frames(name, overlap):
    """I2V of 2.1 with CLIP, of 2.2 without (FLF2V and Fun-InP have their shapes), TI2V-5B; samples too, to the bit."""
    prompts, vae, film = encode(f"{LINES[name]}.safetensors"), load_vae(f"{VAES[name]}.safetensors"), picture(13, 64)
    features = {}
    if name == "i2v":
        encoder = call("LoadClipVision", clip_vision_name="clip.safetensors")
        features["clip_vision_output"] = call("ClipVisionEncode", clip_vision=encoder, image=film[-overlap:][:1])
    *ours, told = extend(prompts, vae, images=film, overlap=overlap, **features)
    seen = features.get("clip_vision_output")
    theirs = image_to_video(prompts, vae, start_image=film[-overlap:], clip_vision_start=seen)
    assert told == overlap
    assert_same_bits(ours, theirs)
    model = load(f"{name}.safetensors")
    assert torch.equal(sampled(model, *ours), sampled(model, *theirs))


def test_the_clip_ends_with_an_end_image_of_any_shape():
    prompts, vae, film = encode("text.safetensors"), load_vae("vae.safetensors"), picture(6, 64)
    ends = picture(2, 40, 100)
    *ours, _ = extend(prompts, vae, images=film, end_image=ends, fit="pad")
    theirs = image_to_video(prompts, vae, start_image=film[1:], end_image=ends, fit="pad")
    assert_same_bits(ours, theirs)
    assert ours[0][0][1]["concat_mask"][0, :, :, 0, 0].T.tolist() == [[0] * 4, [0] * 4, [1, 1, 0, 0]]


def test_only_the_last_frames_count():
    prompts, vae, film = encode("text.safetensors"), load_vae("vae.safetensors"), picture(30, 64)
    changed = film.clone()
    changed[:25] = float("nan")
    assert_same_bits(extend(prompts, vae, images=film)[:3], extend(prompts, vae, images=changed)[:3])


def test_the_next_clip_has_the_size_of_the_clip_so_far():
    prompts, vae = encode("text.safetensors"), load_vae("vae.safetensors")
    assert extend(prompts, vae, images=picture(5, 96, 32))[2]["samples"].shape == (1, 16, 3, 12, 4)


def test_vace_takes_the_last_frames_and_a_black_mask():
    """The example of the help page: what is black is kept, what comes after the frames is made freely."""
    prompts, vae, film = encode("text.safetensors"), load_vae("vae.safetensors"), picture(13, 64)
    positive, negative, latent, _ = call(
        "Vace", positive=prompts[0], negative=prompts[1], vae=vae, width=64, height=64, frames=9, batch_size=1,
        strength=1.0, control_video=film[-5:], control_masks=torch.zeros(1, 64, 64),
    )  # fmt: skip
    model = load("vace.safetensors")
    item = prompts_of(model, positive, latent, "positive", 5.0).inputs(0, latent["samples"], torch.zeros(1)).steering
    assert len(item) == 1
    mask = positive[0][1]["vace_mask"][0]
    assert [bool(mask[0, :, frame].any()) for frame in range(3)] == [False, False, True]
    kept = torch.cat([film[-5:], torch.full((4, 64, 64, 3), 0.5)])
    assert torch.equal(positive[0][1]["vace_frames"][0][:, :16], vae.encode(kept))
    assert sampled(model, positive, negative, latent).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": picture(4, 64)}, "An overlap of 5 frames was asked for, but the clip so far has 4. Use a smaller"),
        ({"frames": 5}, "An overlap of 5 frames leaves nothing new in a clip of 5. Use a smaller overlap or more"),
        ({"overlap": 9}, "An overlap of 9 frames leaves nothing new in a clip of 9"),
        ({"overlap": 4}, r"An overlap is 1 \+ 4k frames, as many as latent frames stand for, got 4. Use 1 or 5"),
        ({"overlap": 0}, r"got 0. Use 1 or 5"),
        ({"frames": 10}, r"A clip has 1 \+ 4k frames, got 10. Use 9 or 13"),
        ({"images": picture(9, 60)}, "The height must be a multiple of 16 pixels, got 60. Use 48 or 64"),
        ({"images": "film"}, "images must be pictures .*got a text. Connect the clip so far"),
        ({"images": torch.zeros(9, 64)}, r"images must be pictures .*got \[9, 64\]"),
        ({"images": torch.full((9, 64, 64, 3), float("nan"))}, "values that are NaN or infinite"),
        ({"end_image": picture(5, 64)}, "overlap of 5 frames and the end_image of 5 are more than the 9 frames"),
        ({"end_image": picture(1, 64)[0]}, r"end_image must be pictures .*got \[64, 64, 3\]"),
        ({"fit": "fill"}, "The fit is one of crop, pad, stretch"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(changes, words):
    prompts, vae = encode("text.safetensors"), load_vae("vae.safetensors")
    with pytest.raises(InvalidInputError, match=words) as refusal:
        extend(prompts, vae, **{"images": picture(13, 64), **changes})
    assert "\n" not in str(refusal.value)
    widgets = {name: value for name, value in changes.items() if name in ("frames", "overlap")}
    if widgets:
        with pytest.raises(InvalidInputError, match=words):
            NODE.validate_inputs(**{"frames": 9, "overlap": 5, **widgets})


def test_what_is_not_known_yet_is_not_refused():
    assert NODE.validate_inputs(frames=None, overlap=None) is True
    assert NODE.validate_inputs(frames=9, overlap=None) is True
    assert NODE.validate_inputs(frames=None, overlap=13) is True


def test_ti2v_5b_takes_no_end_image():
    prompts, vae = encode("wan21_text.safetensors"), load_vae("wan22_vae.safetensors")
    with pytest.raises(InvalidInputError, match="takes its first frame"):
        extend(prompts, vae, images=picture(13, 64), end_image=picture(1, 64))
