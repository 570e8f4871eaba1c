"""The nodes on tiny random models: what goes in comes out right, and wrong pairs are refused in a sentence."""

from __future__ import annotations

import copy
import re

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.dit.conditioning.start_image import keyframe_mask
from wan_director.engine.local import Interrupted
from wan_director.engine.previews.moving import MovingPicture, PreviewWish
from wan_director.engine.progress import Counted
from wan_director.engine.terminal import UnseenProgress
from wan_director.sampling.schedule import make_schedule

from .conftest import call, encode, load, load_vae, picture

NODES = wan_director.NODE_CLASS_MAPPINGS
pytestmark = pytest.mark.usefixtures("inference")
SIZE = {"width": 64, "height": 48, "frames": 9}
SAMPLER = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


@pytest.fixture
def vae():
    return load_vae("vae.safetensors")


@pytest.fixture
def prompts():
    return encode("text.safetensors")


def sample(model: str, prompts, latent, **changes):
    inputs = {"model": load(model), "positive": prompts[0], "negative": prompts[1], "latent": latent}
    return call("Sampler", **inputs, **{**SAMPLER, **changes})


def image_to_video(prompts, vae, **changes):
    inputs = {"positive": prompts[0], "negative": prompts[1], "vae": vae, **SIZE, "batch_size": 1, "fit": "crop"}
    return call("ImageToVideo", **{**inputs, **changes})


def test_text_to_video(vae, prompts):
    latent = call("EmptyLatent", vae=vae, **SIZE, batch_size=2)
    assert latent["samples"].shape == (2, 16, 3, 6, 8) and not latent["samples"].any()
    sampled = sample("t2v.safetensors", prompts, latent)
    assert sampled["samples"].shape == (2, 16, 3, 6, 8) and sampled["samples"].isfinite().all()
    frames = call("Decode", vae=vae, latent=sampled)
    assert frames.shape == (18, 48, 64, 3)
    assert frames.min() >= 0 and frames.max() <= 1
    again = sample("t2v.safetensors", prompts, latent)
    assert torch.equal(again["samples"], sampled["samples"])
    other = sample("t2v.safetensors", prompts, latent, seed=4)
    assert not torch.equal(other["samples"], sampled["samples"])


def test_latents_on_the_socket_are_raw(vae, prompts):
    """What the sampler gives is de-normalised: the decoder of the native VAE node takes it as it is."""
    latent = call("EmptyLatent", vae=vae, **SIZE, batch_size=1)
    sampled = sample("t2v.safetensors", prompts, latent)["samples"]
    untouched = {"samples": sampled}
    assert torch.allclose(sample("t2v.safetensors", prompts, untouched, denoise=0.0)["samples"], sampled, atol=1e-5)


def test_video_to_video_keeps_what_denoise_leaves(vae, prompts):
    clip = call("Encode", vae=vae, images=picture(9))
    assert clip["samples"].shape == (1, 16, 3, 6, 8)
    near, far = (sample("t2v.safetensors", prompts, clip, denoise=part, steps=4)["samples"] for part in (0.2, 0.9))
    assert (near - clip["samples"]).abs().mean() < (far - clip["samples"]).abs().mean()


def test_sigmas_replace_the_schedule(vae, prompts):
    latent = call("EmptyLatent", vae=vae, **SIZE, batch_size=1)
    by_name = sample("t2v.safetensors", prompts, latent, steps=3)
    sigmas = make_schedule("simple", 3, 5.0).sigmas.float()
    by_hand = sample("t2v.safetensors", prompts, latent, steps=30, schedule="beta", sigmas=sigmas)
    assert torch.allclose(by_name["samples"], by_hand["samples"], atol=1e-4)


def test_given_frames_use_native_keys(vae, prompts):
    """concat_latent_image is the raw latent of the frames with mid-grey gaps, concat_mask is 0 where given."""
    start, end = picture(1), picture(1).flip(1)
    positive, negative, latent = image_to_video(prompts, vae, start_image=start, end_image=end)
    grey = torch.full((9, 48, 64, 3), 0.5)
    grey[0], grey[-1] = start[0], end[0]
    for side in (positive, negative):
        assert torch.allclose(side[0][1]["concat_latent_image"], vae.encode(grey), atol=1e-5)
        assert torch.equal(side[0][1]["concat_mask"], 1 - keyframe_mask([0, 8], 9, 6, 8))
        assert "concat_mask" not in prompts[0][0][1]
    assert latent["samples"].shape == (1, 16, 3, 6, 8)
    assert sample("i2v.safetensors", (positive, negative), latent)["samples"].isfinite().all()


def test_clips_and_keyframes_may_stand_anywhere(vae, prompts):
    keyframes = call("Keyframe", image=picture(3), frame=-3)
    keyframes = call("Keyframe", image=picture(1, 20, 90), frame=4, keyframes=keyframes)
    positive, _, _ = image_to_video(prompts, vae, start_image=picture(3), end_image=picture(2), keyframes=keyframes)
    assert torch.equal(positive[0][1]["concat_mask"], 1 - keyframe_mask([0, 1, 2, 4, 6, 7, 8], 9, 6, 8))


def test_without_pictures_nothing_is_added(vae, prompts):
    positive, negative, _ = image_to_video(prompts, vae)
    assert positive[0][1].keys() == prompts[0][0][1].keys()


def test_clip_vision_features_reach_the_model(vae, prompts):
    encoder = call("LoadClipVision", clip_vision_name="clip.safetensors")
    features = call("ClipVisionEncode", clip_vision=encoder, image=picture(1))
    assert features.penultimate_hidden_states.shape == (1, 17, 64)
    plain = image_to_video(prompts, vae, start_image=picture(1))
    seen = image_to_video(prompts, vae, start_image=picture(1), clip_vision_start=features, clip_vision_end=features)
    assert seen[0][0][1]["clip_vision_output"].penultimate_hidden_states.shape == (1, 34, 64)
    results = [sample("i2v.safetensors", each[:2], each[2])["samples"] for each in (plain, seen)]
    assert not torch.equal(*results)


def test_native_image_conditioning_is_taken(vae, prompts):
    """As ComfyUI's WanImageToVideo stores it: one mask channel, whole latent frames."""
    latent = torch.zeros(1, 16, 3, 6, 8)
    mask = torch.ones(1, 1, 3, 6, 8)
    mask[:, :, :1] = 0
    values = {"concat_latent_image": vae.encode(picture(9)), "concat_mask": mask}
    sides = [[[embedding, {**entry, **values}] for embedding, entry in side] for side in prompts]
    assert sample("i2v.safetensors", sides, {"samples": latent})["samples"].isfinite().all()


def test_tags_survive_a_deep_copy(vae, prompts):
    latent = copy.deepcopy(call("EmptyLatent", vae=vae, **SIZE, batch_size=1))
    sample("t2v.safetensors", copy.deepcopy(prompts), latent)


WRONG_PAIRS = {
    "model needs a picture": ("wan21_i2v.safetensors", "wan21_text.safetensors", "wan21_vae.safetensors", False,
                              r"wan21_i2v.safetensors .* needs a start image"),
    "model takes no picture": ("t2v.safetensors", "text.safetensors", "vae.safetensors", True,
                               r"t2v.safetensors .* cannot take a start image"),
    "wrong text encoder": ("t2v.safetensors", "wan21_text.safetensors", "vae.safetensors", False,
                           r"wan21_text.safetensors .*4096.*t2v.safetensors.*Use wan_director_tiny"),
    "wrong VAE": ("wan21_t2v.safetensors", "wan21_text.safetensors", "vae.safetensors", False,
                  r"vae.safetensors .* wan21_t2v.safetensors .*Use wan_2.1_vae.safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_PAIRS)
def test_wrong_pairs_are_refused_before_the_model_runs(case):
    model, text, vae_name, with_picture, words = WRONG_PAIRS[case]
    prompts, vae = encode(text), call("LoadVAE", vae_name=vae_name, precision="auto")
    positive, negative, latent = image_to_video(prompts, vae, start_image=picture(1) if with_picture else None)
    with pytest.raises(PairingError, match=words) as refusal:
        sample(model, (positive, negative), latent)
    assert len(refusal.traceback) < 6 and not re.search(r"\n", str(refusal.value))


def test_latent_of_another_family_is_not_decoded(vae, prompts):
    other = call("LoadVAE", vae_name="wan21_vae.safetensors", precision="auto")
    latent = call("EmptyLatent", vae=vae, **SIZE, batch_size=1)
    with pytest.raises(PairingError, match=r"made for vae.safetensors .* Use wan_director_tiny_demo_vae"):
        call("Decode", vae=other, latent=latent)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"frames": 80}, r"1 \+ 4k frames, got 80. Use 77 or 81"),
        ({"width": 100}, "width must be a multiple of 16 pixels, got 100"),
        ({"height": 8}, "height must be at least 32"),
    ],
)
def test_sizes_no_model_can_make_are_refused(vae, prompts, inputs, words):
    for node in ("EmptyLatent", "ImageToVideo"):
        with pytest.raises(InvalidInputError, match=words):
            NODES[f"WanDirector{node}"].validate_inputs(**inputs)
        assert NODES[f"WanDirector{node}"].validate_inputs(**dict.fromkeys(inputs)) is True
    with pytest.raises(InvalidInputError, match=words):
        call("EmptyLatent", vae=vae, **{**SIZE, **inputs}, batch_size=1)
    with pytest.raises(InvalidInputError, match=words):
        image_to_video(prompts, vae, **inputs)


def test_keyframe_mistakes_are_refused(vae, prompts):
    for frame in (9, -10):
        with pytest.raises(InvalidInputError, match=f"at frame {frame}, but the video has 9 frames. Use 0 to 8"):
            image_to_video(prompts, vae, keyframes=call("Keyframe", image=picture(1), frame=frame))
    with pytest.raises(InvalidInputError, match="Frame 8 is given 2 times"):
        twice = call("Keyframe", image=picture(1), frame=-1)
        image_to_video(prompts, vae, end_image=picture(1), keyframes=twice)
    with pytest.raises(InvalidInputError, match="start_image is a clip of 10 frames"):
        image_to_video(prompts, vae, start_image=picture(10))


def test_wrong_latents_are_refused(vae, prompts):
    good = call("EmptyLatent", vae=vae, **SIZE, batch_size=1)
    with pytest.raises(InvalidInputError, match="5 dimensions"):
        sample("t2v.safetensors", prompts, {"samples": torch.zeros(1, 4, 8, 8)})
    with pytest.raises(PairingError, match="48 channels"):
        sample("t2v.safetensors", prompts, {"samples": torch.zeros(1, 48, 3, 8, 8)})
    with pytest.raises(InvalidInputError, match="noise mask"):
        sample("t2v.safetensors", prompts, {**good, "noise_mask": torch.ones(1)})
    positive, negative, _ = image_to_video(prompts, vae, start_image=picture(1), width=96)
    with pytest.raises(PairingError, match="12 x 6, but the latent to sample has .* 8 x 6"):
        sample("i2v.safetensors", (positive, negative), good)
    with pytest.raises(InvalidInputError, match="NaN"):
        call("Decode", vae=vae, latent={"samples": torch.full((1, 16, 1, 4, 4), float("nan"))})


def test_the_same_prompt_twice_is_that_prompt(vae, prompts):
    latent = call("EmptyLatent", vae=vae, **SIZE, batch_size=1)
    once, twice = (sample("t2v.safetensors", (prompts[0] * count, prompts[1]), latent)["samples"] for count in (1, 2))
    torch.testing.assert_close(twice, once, rtol=0, atol=1e-5)


def test_encode_refuses_lengths_that_do_not_fit(vae):
    with pytest.raises(InvalidInputError, match="got 10. Use 9 or 13"):
        call("Encode", vae=vae, images=picture(10))


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_interrupt_stops_between_blocks_and_leaves_no_trace(vae, prompts, tiny_host, stop_at, monkeypatch):
    latent = call("EmptyLatent", vae=vae, **SIZE, batch_size=1)
    undisturbed = sample("t2v.safetensors", prompts, latent)["samples"]
    asked = []

    def check_after() -> None:
        asked.append(None)
        if len(asked) == stop_at:
            raise Interrupted

    model = load("t2v.safetensors")
    monkeypatch.setattr(tiny_host.runtime, "check_interrupt", check_after)
    with pytest.raises(Interrupted):
        call("Sampler", model=model, positive=prompts[0], negative=prompts[1], latent=latent, **SAMPLER)
    assert len(asked) == stop_at
    monkeypatch.undo()
    assert torch.equal(sample("t2v.safetensors", prompts, latent)["samples"], undisturbed)


class SeenProgress(UnseenProgress):
    """Keeps what a host is told, of all work."""

    seen: list[tuple]

    def __init__(self, counted: Counted) -> None:
        self.counted = counted

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        shape = None if preview is None else tuple(preview.frames.shape)
        self.seen.append((self.counted.title, self.counted.unit, done, self.counted.total, shape))

    def note(self, text: str) -> None:
        self.seen.append(text)


@pytest.fixture
def seen(tiny_host, monkeypatch):
    told = []
    monkeypatch.setattr(SeenProgress, "seen", told, raising=False)
    monkeypatch.setattr(tiny_host.runtime, "progress", SeenProgress)
    return told


def test_progress_counts_steps_and_blocks_and_shows_all_latent_frames(vae, prompts, tiny_host, monkeypatch, seen):
    monkeypatch.setattr(tiny_host.runtime, "preview_wish", lambda _family: PreviewWish(512))
    latent = call("EmptyLatent", vae=vae, **SIZE, batch_size=1)
    sampled = sample("t2v.safetensors", prompts, latent)
    steps = [each for each in seen if each[0] == "Sampling"]
    assert steps == [("Sampling", "step", n, 2, (3, 6, 8, 3)) for n in (1, 2)]
    first_step = seen[seen.index("block 1 of 2") : seen.index(steps[0])]
    assert first_step == ["block 1 of 2", "block 2 of 2"] * 2  # positive and negative
    seen.clear()
    call("Decode", vae=vae, latent=sampled)
    assert seen == [("Decoding", "latent frame", n, 3, None) for n in (1, 2, 3)]
    seen.clear()
    call("Encode", vae=vae, images=picture(9))
    assert seen == [("Encoding frames", "latent frame", n, 3, None) for n in (1, 2, 3)]


def test_progress_counts_bytes_layers_and_saved_frames(seen):
    encode("text.safetensors")
    loads = [each for each in seen if each[1] == "byte"]
    assert loads[-1][0] == "Loading text.safetensors" and loads[-1][2] == loads[-1][3] > 100_000
    layers = [each for each in seen if each[1] == "layer"]
    assert layers == [("Encoding the prompt", "layer", n, 1, None) for n in (1, 1)]
    seen.clear()
    NODES["WanDirectorSaveVideo"].execute(
        images=picture(3), fps=8.0, filename_prefix="clip", format="png frames", quality=50
    )
    assert seen == [*(("Saving", "frame", n, 3, None) for n in (1, 2, 3)), "the encoder ends the file"]


def test_save_video_shows_its_file(tiny_host):
    output = NODES["WanDirectorSaveVideo"].execute(
        images=picture(5), fps=8.0, filename_prefix="a/%width%_clip", format="mp4-h264", quality=50
    )
    assert output.ui.as_dict() == {
        "images": [{"filename": "64_clip_00001_.mp4", "subfolder": "a", "type": "output"}],
        "animated": (True,),
    }
    assert (tiny_host.output / "a" / "64_clip_00001_.mp4").is_file()
    output = NODES["WanDirectorSaveVideo"].execute(
        images=picture(2), fps=8.0, filename_prefix="clip", format="png frames", quality=50
    )
    places = [(each["subfolder"], each["filename"]) for each in output.ui.as_dict()["images"]]
    assert places == [("clip_00001_", "00000.png"), ("clip_00001_", "00001.png")]
    with pytest.raises(InvalidInputError, match="leads out of the output folder"):
        NODES["WanDirectorSaveVideo"].execute(
            images=picture(1), fps=8.0, filename_prefix="../clip", format="gif", quality=50
        )
