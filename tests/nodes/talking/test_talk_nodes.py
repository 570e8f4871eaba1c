"""Load Wan InfiniteTalk and Wan InfiniteTalk: who is heard and seen, chunk by chunk, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import InvalidInputError, PairingError, WanDirectorError
from wan_director.common.families import WAN_2_1
from wan_director.dit.branches.audio.talk import TalkBranch
from wan_director.dit.conditioning.audio.talk import joined_voices, spoken_frames, video_features
from wan_director.engine.models import with_policies
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.sampling.windows import SlidingWindows

from ..conftest import HEADS, call, dit, encode, load_vae, picture, save_model

pytestmark = pytest.mark.usefixtures("inference")
NAME = "infinitetalk.safetensors"
SIZE = {"width": 64, "height": 48, "frames": 13, "batch_size": 1, "fit": "crop"}
USUAL = {"audio_scale": 1.0, "speakers": "one after the other", "motion_frames": 5}
RUN = {"steps": 3, "cfg": 1.0, "shift": 8.0, "solver": "euler", "schedule": "simple", "seed": 5, "denoise": 1.0}
WIDTH = 8


@pytest.fixture
def prompts(inference):
    return encode("wan21_text.safetensors")


@pytest.fixture
def vae(inference):
    return load_vae("wan21_vae.safetensors")


def heard(seed: int = 3, steps: int = 50, layers: int = 13):
    """What wav2vec2 base makes of a sound, in the form of the socket; the encoder itself is tested by itself."""
    generator = torch.Generator().manual_seed(seed)
    made = tuple(torch.randn(1, steps, WIDTH, generator=generator) for _ in range(layers))
    return {"encoded_audio": made[-1], "encoded_audio_all_layers": made, "audio_samples": 320 * steps}


def masks(height: int = 48, width: int = 64) -> dict[str, torch.Tensor]:
    left, right = torch.zeros(2, 1, height, width)
    left[:, :, : width // 2], right[:, :, width // 2 :] = 1.0, 1.0
    return {"mask_1": left, "mask_2": right}


def load(name: str = "wan21_i2v.safetensors", **inputs):
    module = call("LoadInfiniteTalk", infinitetalk_name=NAME)
    return call("LoadModel", model_name=name, precision="fp32", attention="auto", module=module, **inputs)


def prepared(prompts, vae, **given):
    usual = {"start_image": picture(1), "audio": heard(), **SIZE, **USUAL}
    return call("InfiniteTalk", positive=prompts[0], negative=prompts[1], vae=vae, **{**usual, **given})


def sampled(made, model=None, **run) -> torch.Tensor:
    positive, negative, latent, _ = made
    inputs = {"positive": positive, "negative": negative, "latent": latent, "model": model or load()}
    return call("Sampler", **{**inputs, **RUN, **run})["samples"]


def steering_of(made, model=None):
    """What steers the model in a step, and the scene that it comes of."""
    prompts = prompts_of(model or load(), made[0], made[2], "positive", 5.0)
    latent = made[2]["samples"]
    (steering,) = prompts.inputs(0, torch.zeros_like(latent), torch.zeros(len(latent))).steering
    return steering, prompts.parts[0].conditioning.items[-1]


def differs(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() > 1e-6 * one.abs().max())


def test_what_is_said_and_by_whom_moves_the_video(prompts, vae):
    one = sampled(prepared(prompts, vae))
    assert one.shape == (1, 16, 4, 6, 8) and one.isfinite().all()
    two = sampled(prepared(prompts, vae, audio_2=heard(4), **masks()))
    swapped = dict(zip(("mask_2", "mask_1"), masks().values()))
    others = [
        sampled(prepared(prompts, vae, audio=heard(7))), sampled(prepared(prompts, vae, audio_scale=2.0)), two,
        sampled(prepared(prompts, vae, start_image=picture(1).flip(1))),
    ]  # fmt: skip
    assert all(differs(each, one) for each in others)
    together = {"audio_2": heard(4), "speakers": "at the same time"}
    assert differs(sampled(prepared(prompts, vae, **together, **masks())), two)
    assert differs(sampled(prepared(prompts, vae, audio_2=heard(4), **swapped)), two)


def test_a_model_with_its_layers_that_nobody_speaks_to_is_as_before(prompts, vae):
    plain = call("LoadModel", model_name="wan21_i2v.safetensors", precision="fp32", attention="auto")
    model = load()
    assert model.spec.title.endswith("with the InfiniteTalk module of another size")
    positive, negative, latent = call(
        "ImageToVideo", positive=prompts[0], negative=prompts[1], vae=vae, start_image=picture(1), **SIZE
    )
    made = (positive, negative, latent, 0)
    assert torch.equal(sampled(made, model), sampled(made, plain))


def test_the_first_frame_is_what_the_model_makes_of_the_picture_and_later_frames_are_kept(prompts, vae):
    first = prepared(prompts, vae)
    shown = WAN_2_1.normalize(first[0][0][1]["concat_latent_image"][:, :, :1])
    _, scene = steering_of(first)
    torch.testing.assert_close(scene.shown, shown)
    assert not scene.is_kept and first[3] == 0
    made = sampled(first)
    assert differs(made[:, :, :1], WAN_2_1.denormalize(shown))
    before = picture(15)
    later = prepared(prompts, vae, previous_frames=before)
    kept = vae.encode(before[-5:])
    assert later[3] == 5
    torch.testing.assert_close(sampled(later)[:, :, :2], kept, rtol=0, atol=1e-5)
    assert differs(sampled(later)[:, :, 2:], made[:, :, 2:])


def test_the_sound_goes_on_with_the_video(prompts, vae):
    """A chunk begins with the frames that it goes on from, of both people in their order of speaking."""
    later = prepared(
        prompts, vae, previous_frames=picture(15), audio=heard(3, 24), audio_2=heard(4, 30), **masks(),
        audio_scale=0.5,
    )  # fmt: skip
    steering, _ = steering_of(later)
    layers = [each["encoded_audio_all_layers"] for each in (heard(3, 24), heard(4, 30))]
    voices = joined_voices([video_features(each) for each in layers], "one after the other")
    assert torch.equal(steering.features, spoken_frames(voices, 4, 10))
    assert steering.scale == 0.5 and steering.begins
    expected = torch.zeros(2, 6, 8, dtype=torch.bool)
    expected[0, :, :4], expected[1, :, 4:] = True, True
    assert torch.equal(steering.masks, expected)


def test_masks_come_to_the_size_as_the_picture_does(prompts, vae):
    """Of a wide picture the middle is left; the outer people's halves with it."""
    wide = masks(48, 128)
    steering, _ = steering_of(prepared(prompts, vae, audio_2=heard(4), **wide, start_image=picture(1, 48, 128)))
    assert steering.masks[0, :, :4].all() and not steering.masks[0, :, 4:].any()
    outer = torch.zeros(1, 48, 128)
    outer[..., :20] = 1.0
    with pytest.raises(InvalidInputError, match="mask_1 is nowhere in the picture of 64 x 48"):
        prepared(prompts, vae, audio_2=heard(4), mask_1=outer, mask_2=wide["mask_2"])


def test_a_sound_that_ends_before_the_video_is_told(prompts, vae, caplog):
    with caplog.at_level(logging.INFO):
        prepared(prompts, vae, audio=heard(3, 18))
        prepared(prompts, vae, audio=heard(3, 18), previous_frames=picture(15))
    assert "What is said ends after 9 frames and this chunk after 13: nobody speaks in the rest." in caplog.text
    assert "ends after 9 frames, before this chunk begins (frame 11): nobody speaks in it." in caplog.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"audio": 3}, "audio must be the features of a sound, got a number"),
        ({"audio": heard(layers=25)}, "25 layers, and InfiniteTalk hears 13 of width 768. Encode it with wav2vec2-ch"),
        ({"audio": heard(steps=1)}, "audio is shorter than a frame of a video"),
        ({"audio_2": heard(4)}, "two people speak, audio_2, mask_1 and mask_2 are needed, and mask_1 and mask_2 is"),
        (masks(), "and audio_2 is missing. Connect all three"),
        ({"motion_frames": 8}, "motion_frames are 1 \\+ 4k, up to 33, got 8. Use 9"),
        ({"previous_frames": picture(4)}, "previous_frames has 4 frames, and the chunk goes on from the last 5"),
        ({"previous_frames": picture(15), "motion_frames": 13}, "13 frames that goes on from 13 makes none"),
        ({"audio_scale": 11.0}, "audio_scale is from -10 to 10, got 11"),
        ({"frames": 10}, "1 \\+ 4k frames, got 10"),
        ({"fit": "bend"}, "The fit is one of crop, pad, stretch"),
        ({"speakers": "in a choir"}, "The speakers is one of one after the other, at the same time"),
    ],
)
def test_bad_input_gets_a_sentence(prompts, vae, given, words):
    with pytest.raises(InvalidInputError, match=words):
        prepared(prompts, vae, **given)


def test_what_does_not_go_with_it_is_refused(prompts, vae, models):
    made = prepared(prompts, vae)
    plain = call("LoadModel", model_name="wan21_i2v.safetensors", precision="fp32", attention="auto")
    with pytest.raises(PairingError, match="has no layers of InfiniteTalk and cannot hear who speaks. Add "):
        sampled(made, plain)
    with pytest.raises(PairingError, match="belongs onto a model of image to video of Wan 2.1, but wan21_t2v"):
        load("wan21_t2v.safetensors")
    with pytest.raises(PairingError, match="belongs onto a model of image to video of Wan 2.1, but humo"):
        load("humo.safetensors")
    save_model(models / "diffusion_models" / "deep.safetensors", dit(text_dim=4096, in_channels=36, layers=3), HEADS)
    with pytest.raises(PairingError, match="for models of 2 blocks of width 48, but deep.* has 3 of width 48"):
        load("deep.safetensors")
    with pytest.raises(InvalidInputError, match="positive conditioning has a start image already"):
        prepared(made[:2], vae)
    with pytest.raises(InvalidInputError, match="latents of the Wan 2.1 VAE, and this VAE is that of TI2V-5B"):
        prepared(prompts, load_vae("wan22_vae.safetensors"), width=64, height=64)
    masked = {**made[2], "noise_mask": torch.zeros(1, 48, 64)}
    with pytest.raises(InvalidInputError, match="has a noise mask, and InfiniteTalk shows the model the first frames"):
        sampled((*made[:2], masked, 0))
    longer = call("EmptyLatent", vae=vae, **{**{k: SIZE[k] for k in ("width", "height", "batch_size")}, "frames": 17})
    with pytest.raises(PairingError):
        sampled((*made[:2], longer, 0))
    other = prepared(prompts, vae, start_image=picture(1).flip(2))
    with pytest.raises(InvalidInputError, match="several Wan InfiniteTalk nodes with other first frames"):
        sampled(([*made[0], *other[0]], made[1], made[2], 0))


def test_a_module_that_is_none_gets_a_sentence(models):
    with pytest.raises(WanDirectorError, match="missing.safetensors is not in .*model_patches"):
        call("LoadInfiniteTalk", infinitetalk_name="missing.safetensors")
    from wan_director.nodes.loaders import WanDirectorLoadInfiniteTalk as Loader

    assert Loader.validate_inputs(NAME) is True
    assert "Uni3C module" in str(Loader.validate_inputs("uni3c.safetensors"))


def test_windows_swap_and_a_batch_go_with_it(prompts, vae):
    made = prepared(prompts, vae, audio_2=heard(4), **masks(), batch_size=2, frames=17)
    model = load()
    whole = sampled(made, model, cfg=2.0)
    memory = call(
        "Memory", mode="manual", budget="leave free", gigabytes=1.0, blocks_to_swap=2, pinned_ram=0.0,
        text_encoder="auto", vae="auto", vae_strips=0, feed_forward_tokens=0,
    )  # fmt: skip
    torch.testing.assert_close(sampled(made, model, cfg=2.0, memory=memory), whole, rtol=0, atol=1e-5)
    cut = with_policies(model, lambda policies: replace(policies, windows=SlidingWindows(3, 1)))
    parts = sampled(made, cut, cfg=2.0)
    assert parts.shape == whole.shape and parts.isfinite().all() and differs(parts, whole)


def core(name: str, *given, **inputs):
    return CORE_NODES[name].execute(*given, **inputs).args


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("before", [None, picture(15)], ids=["first", "later"])
def test_comfyuis_node_on_the_command_line_makes_the_same(prompts, vae, people, before):
    """Of pictures and masks that have the size of the video already."""
    second = {"audio_2": heard(4), **masks()} if people == 2 else {}
    ours = prepared(prompts, vae, **second, previous_frames=before, audio_scale=0.8)
    (model,), (patch,) = core("UNETLoader", "wan21_i2v.safetensors", "default"), core("ModelPatchLoader", NAME)
    mode = {"mode": ("single_speaker", "two_speakers")[people - 1]}
    if people == 2:
        mode |= {"audio_encoder_output_2": heard(4), **masks()}
    given = {"start_image": picture(1), "previous_frames": before, "clip_vision_output": None}
    model, positive, negative, latent, trim = core(
        "WanInfiniteTalkToVideo", mode, model, patch, *prompts, vae, 64, 48, 13, heard(), 5, 0.8, **given
    )
    assert trim == ours[3]
    run = {"seed": 5, "steps": 3, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    made = core("KSampler", model, positive=positive, negative=negative, latent_image=latent, **run)[0]["samples"]
    expected = sampled(ours, call(
        "LoadModel", model_name="wan21_i2v.safetensors", precision="auto", attention="auto",
        module=call("LoadInfiniteTalk", infinitetalk_name=NAME),
    ))  # fmt: skip
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_what_comfyuis_node_cannot_do_is_refused(prompts, vae):
    (model,), (patch,) = core("UNETLoader", "wan21_i2v.safetensors", "default"), core("ModelPatchLoader", NAME)
    (render,) = core("ModelPatchLoader", "uni3c.safetensors")
    usual = (*prompts, vae, 64, 48, 13, heard(), 5, 1.0)
    one = {"mode": "single_speaker"}
    with pytest.raises(InvalidInputError, match="needs a start_image, or previous_frames"):
        core("WanInfiniteTalkToVideo", one, model, patch, *usual)
    with pytest.raises(InvalidInputError, match="uni3c.safetensors is of the kind Uni3C module, and this node works"):
        core("WanInfiniteTalkToVideo", one, model, render, *usual, start_image=picture(1))
    talking = core("WanInfiniteTalkToVideo", one, model, patch, *usual, start_image=picture(1))[0]
    with pytest.raises(InvalidInputError, match="hears who speaks already. Remove one of the"):
        core("WanInfiniteTalkToVideo", one, talking, patch, *usual, start_image=picture(1))
    with pytest.raises(WanDirectorError, match="hears who speaks by .* Wan From Native cannot take along. Put Wan Inf"):
        call("FromNative", model=talking, attention="sdpa")


def test_a_mask_that_nothing_was_painted_on_is_told(prompts, vae, caplog):
    """As the template is shipped."""
    (model,), (patch,) = core("UNETLoader", "wan21_i2v.safetensors", "default"), core("ModelPatchLoader", NAME)
    image, mask = core("Painter", "", 64, 64, "#000000", picture(1))
    assert torch.equal(image, picture(1)) and mask.shape == (1, 48, 64) and not mask.any()
    mode = {"mode": "two_speakers", "audio_encoder_output_2": heard(4), "mask_1": mask, "mask_2": masks()["mask_2"]}
    core("WanInfiniteTalkToVideo", mode, model, patch, *prompts, vae, 64, 48, 13, heard(), 5, 1.0,
         start_image=picture(1))  # fmt: skip
    assert "A mask of who speaks is empty" in caplog.text


def test_the_file_is_what_it_says():
    spec = load().spec
    assert spec.config.branch(TalkBranch) == TalkBranch(2, 8, 4, 16, 8) and spec.start_image == "required"
