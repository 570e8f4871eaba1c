"""Wan S2V through the nodes: the sound and its encoder, chunks, and what native nodes give."""

from __future__ import annotations

import logging

import pytest
import torch
from wan_director.common.errors import InvalidInputError, MissingPackageError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.dit.branches.audio.past import PastBranch
from wan_director.dit.branches.audio.pose import SpeechPoseBranch
from wan_director.dit.branches.audio.speech import SpeechBranch
from wan_director.dit.branches.audio.still import StillBranch
from wan_director.dit.conditioning.audio.speech import speech_features
from wan_director.nodes.conditioning.entries import prompts_of, with_values
from wan_director.nodes.headless.core_nodes import CORE_NODES

from ..conftest import call, encode, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
SIZE = {"width": 64, "height": 80, "frames": 9, "batch_size": 1, "fit": "crop"}
SETTINGS = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 8.0, "solver": "unipc", "schedule": "simple", "denoise": 1.0}
RATE = 22050


@pytest.fixture
def prompts(inference):
    return encode("wan21_text.safetensors")


@pytest.fixture
def vae(inference):
    return load_vae("wan21_vae.safetensors")


@pytest.fixture
def ear(inference):
    return call("LoadAudioEncoder", audio_encoder_name="speech.safetensors", precision="fp32")


def sound(seconds: float = 2.0, channels: int = 2) -> dict:
    waveform = torch.rand(1, channels, round(RATE * seconds), generator=torch.Generator().manual_seed(2)) - 0.5
    return {"waveform": waveform, "sample_rate": RATE}


@pytest.fixture
def heard(ear):
    return call("AudioEncode", audio_encoder=ear, audio=sound())


def prepared(prompts, vae, **given):
    return call("SpeechToVideo", positive=prompts[0], negative=prompts[1], vae=vae, **{**SIZE, **given})


def sampled(made, **more) -> torch.Tensor:
    positive, negative, latent = made
    inputs = {"positive": positive, "negative": negative, "latent": latent, "model": load("s2v.safetensors")}
    return call("Sampler", **{**inputs, **SETTINGS, **more})["samples"]


def steering_of(made, side: int = 0) -> dict:
    """What steers the model in a step, by kind of branch."""
    name, latent = ("positive", "negative")[side], made[2]
    prompts = prompts_of(load("s2v.safetensors"), made[side], latent, name, 5.0)
    inputs = prompts.inputs(0, torch.zeros_like(latent["samples"]), torch.zeros(len(latent["samples"])))
    return {each.branch: each for each in inputs.steering}


def test_a_sound_is_heard_by_our_node_as_by_comfyuis(ear, heard):
    theirs = CORE_NODES["AudioEncoderEncode"].execute(ear, sound()).args[0]
    assert heard.keys() == theirs.keys() == {"encoded_audio", "encoded_audio_all_layers", "audio_samples"}
    assert heard["audio_samples"] == 32000 and len(heard["encoded_audio_all_layers"]) == 3
    assert heard["encoded_audio"].shape == (1, 99, 32)
    for ours, other in zip(heard["encoded_audio_all_layers"], theirs["encoded_audio_all_layers"]):
        assert torch.equal(ours, other) and ours.device.type == "cpu" and ours.dtype == torch.float32
    loaded = CORE_NODES["AudioEncoderLoader"].execute("speech.safetensors").args[0]
    assert loaded.placed.spec.title == "wav2vec2 of width 32"


def test_its_channels_are_mixed(ear):
    both = sound()
    mixed = {**both, "waveform": both["waveform"].mean(dim=1, keepdim=True)}
    one, other = (call("AudioEncode", audio_encoder=ear, audio=each)["encoded_audio"] for each in (both, mixed))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_all_that_is_given_steers_the_video(prompts, vae, heard):
    given = {"audio": heard, "reference_image": picture(1), "pose_video": picture(9), "previous_frames": picture(5)}
    plain = sampled(prepared(prompts, vae, **given))
    assert plain.shape == (1, 16, 3, 10, 8) and plain.isfinite().all()
    others = {
        "audio": {**heard, "encoded_audio_all_layers": tuple(-each for each in heard["encoded_audio_all_layers"])},
        "reference_image": picture(1).flip(2), "pose_video": picture(9).flip(2),
        "previous_frames": picture(5).flip(2),
    }  # fmt: skip
    for name, value in others.items():
        for changed in ({**given, name: value}, {key: each for key, each in given.items() if key != name}):
            other = sampled(prepared(prompts, vae, **changed))
            assert (other - plain).abs().max() > 2e-6 * plain.abs().max(), name


def test_each_side_is_given_the_same_but_for_the_sound(prompts, vae, heard):
    made = prepared(prompts, vae, audio=heard, reference_image=picture(1), pose_video=picture(5))
    positive, negative = steering_of(made), steering_of(made, side=1)
    assert positive.keys() == negative.keys() == {SpeechPoseBranch, SpeechBranch, StillBranch}
    features = speech_features(heard["encoded_audio_all_layers"], 3)
    torch.testing.assert_close(positive[SpeechBranch].features, features)
    assert not negative[SpeechBranch].features.any()
    torch.testing.assert_close(positive[StillBranch].latent, negative[StillBranch].latent)
    fitted = torch.nn.functional.interpolate(picture(1).movedim(-1, 1)[..., 4:-5], (80, 64), mode="bicubic")
    assert positive[StillBranch].latent.shape == (1, 16, 1, 10, 8) and fitted.shape[-2:] == (80, 64)


def test_poses_end_and_none_are_told_to_the_model(prompts, vae):
    made = prepared(prompts, vae, pose_video=picture(4))
    latent = steering_of(made)[SpeechPoseBranch].latent
    assert latent[:, :, :2].any() and (latent[:, :, 2:].abs() < 1e-5).all()
    still = prepared(
        prompts, vae, pose_video=torch.cat([picture(4), picture(4)[-1:]])
    )  # to the end of its latent frame
    torch.testing.assert_close(steering_of(still)[SpeechPoseBranch].latent, latent)
    assert steering_of(prepared(prompts, vae))[SpeechPoseBranch].latent is None


def test_a_chunk_goes_on_from_the_video_so_far(prompts, vae, heard):
    before = {"samples": torch.randn(1, 16, 25, 10, 8)}
    made = prepared(prompts, vae, audio=heard, previous=before)
    steering = steering_of(made)
    torch.testing.assert_close(steering[PastBranch].latent, WAN_2_1.normalize(before["samples"][:, :, -19:]))
    features = speech_features(heard["encoded_audio_all_layers"], 3, first=25)
    torch.testing.assert_close(steering[SpeechBranch].features, features)


def test_frames_of_another_video_are_filled_up_with_grey(prompts, vae, heard):
    made = prepared(prompts, vae, audio=heard, previous_frames=picture(5, 80, 64))
    grey = torch.full((68, 80, 64, 3), 0.5)
    expected = WAN_2_1.normalize(vae.encode(torch.cat([grey, picture(5, 80, 64)])))
    steering = steering_of(made)
    torch.testing.assert_close(steering[PastBranch].latent, expected)
    torch.testing.assert_close(steering[SpeechBranch].features, speech_features(heard["encoded_audio_all_layers"], 3))
    longer = prepared(prompts, vae, previous_frames=picture(80, 80, 64))
    expected = WAN_2_1.normalize(vae.encode(picture(80, 80, 64)[-73:]))
    torch.testing.assert_close(steering_of(longer)[PastBranch].latent, expected)


def core(name: str, **inputs):
    return CORE_NODES[name].execute(**inputs).args


def test_comfyuis_nodes_prepare_the_same(prompts, vae, heard):
    """Of pictures that have the size of the video already."""
    still, poses = picture(1, 80, 64), picture(9, 80, 64)
    sides = {"positive": prompts[0], "negative": prompts[1], "vae": vae}
    size = {"width": 64, "height": 80, "length": 9, "batch_size": 1}
    given = {"audio_encoder_output": heard, "ref_image": still, "control_video": poses}
    ours = prepared(
        prompts, vae, audio=heard, reference_image=still, pose_video=poses, previous_frames=picture(5, 80, 64)
    )
    theirs = core("WanSoundImageToVideo", **sides, **size, **given, ref_motion=picture(5, 80, 64))
    before = {"samples": torch.randn(1, 16, 3, 10, 8)}
    both = [(ours, theirs)]
    both.append((
        prepared(prompts, vae, audio=heard, reference_image=still, pose_video=poses, previous=before),
        core("WanSoundImageToVideoExtend", **sides, **given, length=9, video_latent=before),
    ))  # fmt: skip
    both.append((prepared(prompts, vae), core("WanSoundImageToVideo", **sides, **size)))
    steered = [(steering_of(one, side), steering_of(other, side)) for one, other in both for side in (0, 1)]
    assert all(found.keys() == expected.keys() for found, expected in steered)
    pairs = [(found[kind][0], expected[kind][0]) for found, expected in steered for kind in found]
    assert all((found is None) == (expected is None) for found, expected in pairs)
    for found, expected in pairs:
        assert found is None or torch.allclose(found, expected, atol=1e-5)


def test_a_sound_that_is_over_is_told(prompts, vae, heard, caplog):
    with caplog.at_level(logging.WARNING):
        prepared(prompts, vae, audio=heard, previous={"samples": torch.zeros(1, 16, 8, 10, 8)})
    assert "The sound ends after 29 frames, before this chunk begins (frame 33): nobody speaks in it." in caplog.text


def test_a_sound_and_poses_that_end_before_the_video_are_told(prompts, vae, heard, caplog):
    with caplog.at_level(logging.INFO):
        prepared(prompts, vae, audio=heard, pose_video=picture(29), frames=29)
    assert not caplog.text
    with caplog.at_level(logging.INFO):
        prepared(prompts, vae, audio=heard, pose_video=picture(9), frames=33)
    assert "The sound ends after 29 frames and this chunk after 33: nobody speaks in the rest." in caplog.text
    assert "pose_video ends after 9 of 33 frames; the rest is made freely." in caplog.text


def test_of_the_features_of_two_sounds_the_first_are_taken_and_it_is_said(prompts, vae, heard, caplog):
    layers = heard["encoded_audio_all_layers"]
    both = {**heard, "encoded_audio_all_layers": tuple(torch.cat([each, -each]) for each in layers)}
    with caplog.at_level(logging.INFO):
        features = steering_of(prepared(prompts, vae, audio=both))[SpeechBranch].features
    assert torch.equal(features, speech_features(layers, 3))
    assert "audio holds the features of 2 sounds; those of the first are used." in caplog.text


@pytest.mark.parametrize(("videos", "made"), [(2, 1), (3, 2)])
def test_a_video_so_far_of_another_batch_is_refused(videos, made, prompts, vae):
    before = {"samples": torch.zeros(videos, 16, 3, 10, 8)}
    with pytest.raises(InvalidInputError, match=f"{videos} videos, and .* for {made}. Set batch_size to {videos}"):
        prepared(prompts, vae, previous=before, batch_size=made)
    values = {"reference_motion": torch.zeros(videos, 16, 3, 10, 8)}
    positive, *others = prepared(prompts, vae, batch_size=made)
    with pytest.raises(PairingError, match=f"prepared for a latent of {videos} videos of 16 channels, 3 latent"):
        steering_of((with_values(positive, values), *others))


def test_a_shorter_sound_of_a_native_node_is_filled_up_with_silence(prompts, vae):
    made = prepared(prompts, vae)
    positive = with_values(made[0], {"audio_embed": torch.randn(1, 3, 32, 10)})
    features = steering_of((positive, *made[1:]))[SpeechBranch].features
    assert features.shape[-1] == 12 and features[..., :10].any() and not features[..., 10:].any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"audio": 3}, "audio must be the features of a sound, got a number. Connect Wan Audio Encode"),
        ({"audio": {"encoded_audio_all_layers": [torch.zeros(3, 4)]}}, "finite features .* got \\[3, 4\\]"),
        ({"previous": {"samples": torch.zeros(1, 16, 3, 6, 8)}, "previous_frames": picture(5)}, "both given"),
        ({"previous": {"samples": torch.zeros(1, 16, 3, 6, 8)}}, "previous is a video of 64 x 48 .* has 64 x 80"),
        ({"previous": 3}, "A latent must be a dict with 'samples', got a number"),
        ({"frames": 10}, "1 \\+ 4k frames, got 10"),
        ({"fit": "bend"}, "The fit is one of crop, pad, stretch"),
    ],
)
def test_bad_input_gets_a_sentence(prompts, vae, given, words):
    with pytest.raises(InvalidInputError, match=words):
        prepared(prompts, vae, **given)


def test_what_is_no_sound_gets_a_sentence(ear):
    with pytest.raises(
        InvalidInputError, match="audio_encoder must be one of sound, got nothing. Connect Load Wan Audio"
    ):
        call("AudioEncode", audio_encoder=None, audio=sound())
    with pytest.raises(InvalidInputError, match="audio holds no sound"):
        call("AudioEncode", audio_encoder=ear, audio=None)
    with pytest.raises(InvalidInputError, match="audio must be a sound with waveform"):
        call("AudioEncode", audio_encoder=ear, audio=3)
    with pytest.raises(InvalidInputError, match="which this node cannot change or open"):
        ear.model  # noqa: B018


def test_features_of_another_encoder_are_refused_before_sampling(prompts, vae):
    layers = tuple(torch.zeros(1, 40, 16) for _ in range(3))
    with pytest.raises(
        PairingError, match="3 layers of features of width 16, and the model hears 3 of 32. Encode it with"
    ):
        steering_of(prepared(prompts, vae, audio={"encoded_audio_all_layers": layers}))


def test_what_was_given_before_is_not_replaced_in_silence(prompts, vae, heard):
    made = prepared(prompts, vae, audio=heard)
    with pytest.raises(InvalidInputError, match="positive conditioning has a sound, a picture or .* already"):
        prepared(made[:2], vae, reference_image=picture(1))
    with pytest.raises(InvalidInputError, match="negative conditioning has a sound, a picture or .* already"):
        prepared((prompts[0], made[1]), vae, reference_image=picture(1))


def test_what_is_meant_for_another_model_is_refused(prompts, vae, heard):
    made = prepared(prompts, vae, audio=heard)
    with pytest.raises(InvalidInputError, match="carries .*, from Wan Speech To Video .*Load a Wan S2V model"):
        prompts_of(load("wan21_t2v.safetensors"), made[0], made[2], "positive", 5.0)
    with pytest.raises(
        PairingError, match="is a speech-to-video model, and nothing is prepared for it. Connect Wan Speech"
    ):
        sampled((*prompts, made[2]))
    start = call("ImageToVideo", positive=prompts[0], negative=prompts[1], vae=vae, **SIZE, start_image=picture(1))
    with pytest.raises(PairingError, match="speech-to-video model and takes no start image"):
        sampled(start)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"audio_embed": 3}, "The sound of the positive conditioning must be numbers of 4 dimensions, got a number"),
        ({"audio_embed": torch.full((1, 3, 32, 12), torch.nan)}, "finite numbers of 4 dimensions"),
        ({"reference_latents": 3}, "picture of who speaks in the positive conditioning must be a list"),
        (
            {"reference_motion": torch.zeros(3)},
            "frames before in the positive conditioning must be finite numbers of 5",
        ),
    ],
)
def test_values_of_another_node_that_are_none_get_a_sentence(prompts, vae, values, words):
    made = prepared(prompts, vae)
    with pytest.raises(InvalidInputError, match=words):
        steering_of((with_values(made[0], values), *made[1:]))


def test_without_transformers_a_sentence_says_what_to_install(tiny_host, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingPackageError, match="transformers is not installed, which encodes the sound"):
        call("LoadAudioEncoder", audio_encoder_name="speech.safetensors", precision="bf16")


def test_encoding_is_stopped_between_layers(ear, tiny_host, monkeypatch):
    asked = []

    def stop() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(ear.placed.runtime, "check_interrupt", stop)
    with pytest.raises(KeyboardInterrupt):
        call("AudioEncode", audio_encoder=ear, audio=sound())


def test_windows_swap_and_a_batch_go_with_it(prompts, vae, heard):
    made = prepared(
        prompts, vae, audio=heard, reference_image=picture(1), previous_frames=picture(5), batch_size=2, frames=17
    )
    whole = sampled(made)
    memory = call(
        "Memory", mode="manual", budget="leave free", gigabytes=1.0, blocks_to_swap=3, pinned_ram=0.0,
        text_encoder="auto", vae="auto", vae_strips=0, feed_forward_tokens=0,
    )  # fmt: skip
    torch.testing.assert_close(sampled(made, memory=memory), whole, rtol=0, atol=1e-5)
    windows = call(
        "Windows", model=load("s2v.safetensors"), frames=9, overlap=4, schedule="static", blend="linear", noise="fresh",
        from_sigma=1.0, keep_first_frame=False, frame_before=False,
    )  # fmt: skip
    parts = sampled(made, model=windows)
    assert parts.shape == whole.shape and parts.isfinite().all() and not torch.equal(parts, whole)


def test_the_vae_of_another_model_is_refused(prompts):
    with pytest.raises(InvalidInputError, match="Wan S2V works on latents of the Wan 2.1 VAE, .* is that of TI2V-5B"):
        prepared(prompts, load_vae("wan22_vae.safetensors"))
