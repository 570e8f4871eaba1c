"""Wan-Dancer through the nodes: music, the parts of a dance, pictures, and what native nodes give."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from wan_director.audio_encoder.music.features import music_features
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.dit.branches.audio.dance import DanceBranch, DanceInput
from wan_director.nodes.conditioning.entries import prompts_of, with_values
from wan_director.nodes.dancing.places import part_of_dance, parts_of_song
from wan_director.nodes.headless.core_nodes import CORE_NODES

from ..conftest import call, encode, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
SIZE = {"width": 64, "height": 80, "frames": 9, "batch_size": 1, "fit": "crop"}
SETTINGS = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
RATE = 16000


@pytest.fixture
def prompts(inference):
    return encode("wan21_text.safetensors")


@pytest.fixture
def vae(inference):
    return load_vae("wan21_vae.safetensors")


def song(seconds: float, beat: float = 0.5) -> dict:
    """Clicks of a tone, so far apart."""
    time = torch.arange(int(seconds * RATE)) / RATE
    tone = torch.sin(2 * math.pi * 440 * time) * torch.exp(-12 * (time % beat))
    return {"waveform": tone[None, None], "sample_rate": RATE}


def music(seconds: float = 0.3, frames: int = 9, **more):
    """That of a dance of 9 frames; of a longer song it is that of a plan."""
    return call("DanceMusic", audio=song(seconds), frames=frames, strength=1.0, **more)


def seen(seed: int, width: int = 1280):
    """CLIP features as they come over a socket."""
    generator = torch.Generator().manual_seed(seed)
    return SimpleNamespace(penultimate_hidden_states=torch.randn(1, 257, width, generator=generator))


def prepared(prompts, vae, **given):
    usual = {"music": music(2.0)[0], "start_image": picture(1, 80, 64), "clip_vision_output": seen(1)}
    return call("Dancer", positive=prompts[0], negative=prompts[1], vae=vae, **{**SIZE, **usual, **given})


def sampled(made, **more) -> torch.Tensor:
    positive, negative, latent = made
    inputs = {"positive": positive, "negative": negative, "latent": latent, "model": load("dancer.safetensors")}
    return call("Sampler", **{**inputs, **SETTINGS, **more})["samples"]


def steering_of(made, side: int = 0) -> tuple[DanceInput, torch.Tensor]:
    """What steers the model in a step, and what stands beside the latent."""
    name, latent = ("positive", "negative")[side], made[2]
    prompts = prompts_of(load("dancer.safetensors"), made[side], latent, name, 5.0)
    inputs = prompts.inputs(0, torch.zeros_like(latent["samples"]), torch.zeros(len(latent["samples"])))
    (steering,) = [each for each in inputs.steering if isinstance(each, DanceInput)]
    return steering, inputs.image_channels


def core(name: str, **inputs):
    return CORE_NODES[name].execute(**inputs).args


def test_music_picture_and_reference_steer_the_video(prompts, vae):
    plain = sampled(prepared(prompts, vae))
    assert plain.shape == (1, 16, 3, 10, 8) and plain.isfinite().all()
    for given in (
        {"music": music(2.3)[0]}, {"start_image": picture(2, 80, 64)[:1]}, {"clip_vision_output_ref": seen(2)},
        {"music": music()[0]},
    ):  # fmt: skip
        other = sampled(prepared(prompts, vae, **given))
        assert (other - plain).abs().max() > 2e-6 * plain.abs().max()


def test_both_sides_hear_and_see_the_same(prompts, vae):
    made = prepared(prompts, vae, clip_vision_output_ref=seen(2))
    for side in (0, 1):
        steering, beside = steering_of(made, side)
        sound = song(2.0)
        assert torch.equal(steering.music, music_features(sound["waveform"][0], RATE))
        assert steering.fps == 30 / 7 and steering.is_plan and (steering.start, steering.stop) == (0, 3)
        assert torch.equal(steering.picture, seen(2).penultimate_hidden_states)
        given = beside[:, :4].amax(dim=(-2, -1))[0]
        assert given.tolist() == [[1, 0, 0]] * 4


def test_a_song_says_how_fast_its_plan_is():
    for seconds, fps, words in (
        (0.3, 30.0, ", \u5e27\u7387\u662f30fps\u3002"),
        (1.2, 7.5, " \u5e27\u7387\u662f7.5000"),
    ):
        output, text, rate = music(seconds)
        assert (text, rate) == (words, fps)
        assert output.keys() == {"audio_feature", "fps", "audio_inject_scale"} and output["fps"] == fps


@pytest.mark.parametrize("seconds", [0.3, 2.0])
@pytest.mark.parametrize("part", [False, True], ids=["a picture", "keyframes"])
def test_comfyuis_nodes_prepare_the_same(prompts, vae, seconds, part):
    """Of pictures that have the size of the video already."""
    (native, text), ours = core(
        "WanDancerEncodeAudio", audio=song(seconds), video_frames=9, audio_inject_scale=1.0
    ), music(seconds)  # fmt: skip
    assert text == ours[1] and torch.equal(native["audio_feature"], ours[0]["audio_feature"])
    pictures, mask = picture(1, 80, 64), None
    if part:
        pictures, mask, _ = core(
            "WanDancerPadKeyframes", images=picture(7, 80, 64), segment_length=9, segment_index=0, audio=song(0.9)
        )  # fmt: skip
    given = {"start_image": pictures, "mask": mask, "clip_vision_output": seen(1), "clip_vision_output_ref": seen(2)}
    found = prepared(prompts, vae, music=ours[0], **given)
    expected = core(
        "WanDancerVideo", positive=prompts[0], negative=prompts[1], vae=vae, width=64, height=80, length=9,
        audio_encoder_output=native, **given,
    )  # fmt: skip
    for side in (0, 1):
        (one, beside), (other, others) = steering_of(found, side), steering_of(expected, side)
        assert torch.equal(one.music, other.music) and one._replace(music=None, picture=None) == other._replace(
            music=None, picture=None
        )
        torch.testing.assert_close(beside, others, rtol=0, atol=1e-5)


def test_a_part_of_a_dance_is_what_comfyuis_nodes_make(vae):
    """Of a plan of 7 frames to 0.9 s: three parts of nine frames."""
    plan = {"samples": torch.randn(1, 16, 7, 10, 8, generator=torch.Generator().manual_seed(1))}
    sound = song(0.9)
    (batch,) = core("LatentCutToBatch", samples=plan, dim="t", slice_size=1)
    (pictures,) = core("VAEDecode", samples=batch, vae=vae)
    assert len(pictures) == 7
    lists = core("WanDancerPadKeyframesList", images=pictures, segment_length=9, num_segments=3, audio=sound)
    for part in range(3):
        *found, parts = call("DancePart", vae=vae, plan=plan, audio=sound, frames=9, part=part)
        assert parts == 3
        for own, other in zip(found, (each[part] for each in lists)):
            if isinstance(own, dict):
                own, other = own["waveform"], other["waveform"]
            assert torch.equal(own, other)
    (joined,) = core("RebatchImages", images=lists[0], batch_size=[4096])
    assert [len(each) for each in joined] == [27]


def test_pictures_lie_evenly_and_the_next_part_begins_with_the_last():
    pictures = torch.arange(1.0, 7.0).view(6, 1, 1, 1)
    sound = torch.zeros(1, 27 * 100)  # 27 frames at 30 a second, of 3,000 samples a second
    parts = [part_of_dance(pictures, sound, 3000, 9, part) for part in range(3)]
    assert parts_of_song(0.9, 9) == 3
    assert [part.pictures.flatten().tolist() for part in parts] == [
        [1, 0, 0, 0, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 0, 0, 0, 3], [3, 0, 0, 0, 0, 0, 0, 0, 4],
    ]  # fmt: skip
    assert [part.mask.flatten().tolist() for part in parts] == [[1.0] + [0.0] * 7 + [1.0]] * 3
    assert all(899 <= part.sound.shape[-1] <= 900 for part in parts)  # cut off to whole samples


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"music": 3}, "music must be the features of music, got a number. Make it with Wan Dance Music"),
        ({"music": {"encoded_audio": torch.zeros(1, 9, 8)}}, "features of music, got the features of speech"),
        ({"music": {"audio_feature": torch.zeros(1, 9, 34)}}, r"finite numbers \[1, moments, 35\], got \[1, 9, 34\]"),
        ({"music": {"audio_feature": torch.zeros(1, 9, 35), "fps": -1}}, "The rate of music must be a number above 0"),
        ({"frames": 17}, "prepared for 4.286 frames a second, but it lasts 3.59 times as long as 17 frames at 30. Set"),
        ({"frames": 10}, "1 \\+ 4k frames, got 10"),
        ({"start_image": torch.rand(13, 80, 64, 3)}, "start_image has 13 frames, but the video has 9"),
        (
            {"mask": torch.ones(9, 80, 64)},
            "mask has 9 frames and start_image 1, but the video has 9. Connect both from",
        ),
        ({"clip_vision_output_ref": seen(1, 768)}, "reference have the width 768, but the model needs 1280"),
    ],
)
def test_bad_input_gets_a_sentence(prompts, vae, given, words):
    with pytest.raises((InvalidInputError, PairingError), match=words):
        sampled(prepared(prompts, vae, **given))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"part": 3}, "part is 3, and a song of 0.9 s has 3 of 0.30 s each. Use 0 to 2"),
        ({"audio": song(0.15)}, "has 0 of 0.30 s each. Connect a longer song"),
        ({"audio": None}, "audio holds no sound"),
        ({"plan": {"samples": torch.zeros(2, 16, 7, 10, 8)}}, "plan holds 2 plans, and a part is of one"),
    ],
)
def test_a_part_that_is_none_gets_a_sentence(vae, given, words):
    plan = {"samples": torch.zeros(1, 16, 7, 10, 8)}
    with pytest.raises(InvalidInputError, match=words):
        call("DancePart", **{"vae": vae, "plan": plan, "audio": song(0.9), "frames": 9, "part": 0, **given})


def test_what_is_meant_for_another_model_is_refused(prompts, vae):
    made = prepared(prompts, vae)
    with pytest.raises(InvalidInputError, match="carries .*, from .*Wan Dancer .*Load a .*Wan-Dancer model"):
        prompts_of(load("wan21_i2v.safetensors"), made[0], made[2], "positive", 5.0)
    with pytest.raises(PairingError, match="is a Wan-Dancer model and needs a start image. Connect Wan Dancer"):
        sampled((*prompts, made[2]))
    start = call("ImageToVideo", positive=prompts[0], negative=prompts[1], vae=vae, **SIZE, start_image=picture(1))
    with pytest.raises(PairingError, match="is a Wan-Dancer model, and nothing is prepared for it. Connect Wan Dancer"):
        sampled(start)
    with pytest.raises(InvalidInputError, match="has music or a picture already"):
        prepared(made[:2], vae)


def test_values_of_another_node_that_are_none_get_a_sentence(prompts, vae):
    made = prepared(prompts, vae)
    for values, words in (
        ({"audio_embed": torch.full((1, 9, 35), torch.nan)}, "The music of the positive conditioning must be finite"),
        (
            {"audio_inject_scale": -1.0},
            "The strength of The music of the positive conditioning must be a number from 0",
        ),
    ):
        with pytest.raises(InvalidInputError, match=words):
            steering_of((with_values(made[0], values), *made[1:]))


def test_windows_swap_a_batch_and_a_skipped_block_go_with_it(prompts, vae):
    made = prepared(prompts, vae, batch_size=2, frames=17, music=music(2.0, 17)[0])
    whole = sampled(made)
    memory = call(
        "Memory", mode="manual", budget="leave free", gigabytes=1.0, blocks_to_swap=2, pinned_ram=0.0,
        text_encoder="auto", vae="auto", vae_strips=0, feed_forward_tokens=0,
    )  # fmt: skip
    torch.testing.assert_close(sampled(made, memory=memory), whole, rtol=0, atol=1e-5)
    windows = call(
        "Windows", model=load("dancer.safetensors"), frames=9, overlap=4, schedule="static", blend="linear",
        noise="fresh", from_sigma=1.0, keep_first_frame=False, frame_before=False,
    )  # fmt: skip
    parts = sampled(made, model=windows)
    assert parts.shape == whole.shape and parts.isfinite().all() and not torch.equal(parts, whole)
    guided = call(
        "Guidance", model=load("dancer.safetensors"), formula="cfg", cfg_course="", cfg_start=0.0, cfg_end=1.0,
        zero_steps=0, apg_parallel=0.0, apg_longest=0.0, skip_blocks="", skip_scale=3.0, skip_start=0.0, skip_end=1.0,
        nag_scale=1.0, nag_alpha=0.25, nag_tau=2.5, nag_end=1.0, negative_skip_blocks="1",
    )  # fmt: skip
    without = sampled(made, model=guided)
    assert without.isfinite().all() and not torch.equal(without, whole)


def test_the_file_is_what_it_says(inference):
    spec = load("dancer.safetensors").spec
    assert spec.config.branch(DanceBranch) == DanceBranch(1, 32, 16, 1) and spec.start_image == "required"
    assert spec.title == "a Wan 2.1 Wan-Dancer model of another size"
