"""Wan Edit Picture: diffusers' ChronoEdit pipeline on equal weights, its steps, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import WAN_2_1
from wan_director.common.shapes import LatentShape
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.rope import TokenPlaces
from wan_director.engine.editing.ends import only_ends
from wan_director.engine.memory import MemorySettings
from wan_director.engine.models import with_policies
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.nodes.editing.picture_clip import Instruction, Picture
from wan_director.nodes.editing.pictured import edited_picture
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.noise import seeded_noise
from wan_director.sampling.schedule import NoiseSchedule, make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.windows import SlidingWindows
from wan_director.text_encoder.clip_vision import ClipVisionOutput

from ...dit.conftest import official_name
from ..conftest import HEADS, call, dit, encode, load, load_vae, picture

pytestmark = pytest.mark.usefixtures("inference")
WIDGETS = {"seed": 3, "steps": 4, "cfg": 4.0, "shift": 5.0, "solver": "unipc", "schedule": "official"}
CHRONO = "chrono_edit_14B.safetensors"
CONFIG = dit(text_dim=4096, in_channels=36, branches=(ClipBranch(64),)).config
STEPS = 6
LIMIT = 1e-5
"""Relative to the largest value: two implementations of the VAE and the transformer, each rounding in its own order."""


def edited(model="wan21_i2v.safetensors", **changes):
    is_tiny = model in ("i2v.safetensors", "t2v.safetensors", "vace.safetensors") if isinstance(model, str) else False
    prompts = encode("text.safetensors" if is_tiny else "wan21_text.safetensors")
    vae = load_vae("vae.safetensors" if is_tiny else "wan21_vae.safetensors")
    model = load(model) if isinstance(model, str) else model
    inputs = {"positive": prompts[0], "negative": prompts[1], "vae": vae, "image": picture(), "reasoning_steps": 0}
    return call("EditPicture", model=model, **{**inputs, **WIDGETS, **changes})


def schedulers():
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    class Euler(FlowMatchEulerDiscreteScheduler):
        """With what the pipeline asks every scheduler for."""

        model_outputs, last_sample = (), None

    unipc = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    return {"euler": Euler(shift=5.0), "unipc": unipc}


def their_models():
    from diffusers import AutoencoderKLWan, ChronoEditTransformer3DModel

    torch.manual_seed(0)
    transformer = ChronoEditTransformer3DModel(
        num_attention_heads=CONFIG.heads, attention_head_dim=CONFIG.head_dim, in_channels=36, out_channels=16,
        text_dim=CONFIG.text_dim, freq_dim=CONFIG.freq_dim, ffn_dim=CONFIG.ffn_dim, num_layers=CONFIG.layers,
        image_dim=64, added_kv_proj_dim=CONFIG.dim,
    )  # fmt: skip
    for parameter in transformer.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.03)
    vae = AutoencoderKLWan(base_dim=8, num_res_blocks=1)
    return (each.eval().requires_grad_(False) for each in (transformer, vae))


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize("reasoning", [0, 1, 3, STEPS])
def test_an_edit_equals_the_pipeline_of_diffusers(solver, reasoning, tiny_host, tmp_path):
    """The whole of ChronoEditPipeline in float32: the picture through the VAE, all steps, and the frames decoded."""
    from diffusers import ChronoEditPipeline

    with torch.inference_mode(False):
        theirs, vae = their_models()
        save_file({official_name(key): value for key, value in theirs.state_dict().items()}, tmp_path / CHRONO, HEADS)
        save_file(vae.state_dict(), tmp_path / "vae.safetensors")
    generator = torch.Generator().manual_seed(5)
    text = torch.randn(2, 1, 512, 4096, generator=generator)
    features = torch.randn(1, 257, 64, generator=generator)
    image = picture()
    shape = LatentShape(16, 8 if reasoning else 2, 6, 8)

    class WithFeatures(ChronoEditPipeline):
        def encode_image(self, image, device=None):
            return features

    steps: list[torch.Tensor] = []

    def note(_pipeline, _number, _timestep, values):
        steps.append(values["latents"])
        return values

    pipeline = WithFeatures(None, None, None, None, theirs, vae, schedulers()[solver])
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(
        image.movedim(-1, 1), prompt_embeds=text[0], negative_prompt_embeds=text[1], height=48, width=64,
        num_frames=29, num_inference_steps=STEPS, guidance_scale=4.0, latents=seeded_noise(7, shape),
        enable_temporal_reasoning=bool(reasoning), num_temporal_reasoning_steps=reasoning, output_type="pt",
        callback_on_step_end=note,
    ).frames  # fmt: skip

    tiny_host.folders = {"diffusion_models": [tmp_path], "vae": [tmp_path]}
    model = call("LoadModel", model_name=CHRONO, precision="fp32", attention="auto")
    own_vae = call("LoadVAE", vae_name="vae.safetensors", precision="fp32")
    scheduler = pipeline.scheduler
    table = NoiseSchedule(scheduler.sigmas.double(), scheduler.timesteps.double(), starts_from_noise=True)
    of_their_table = type("OfTheirTable", (SamplerSettings,), {"noise_schedule": lambda _self: table})
    settings = of_their_table(seed=7, cfg=4.0, solver=solver)
    texts = Instruction([[text[0], {}]], [[text[1], {}]], 5.0)
    seen = ClipVisionOutput(features, features, features)
    ours, latent = edited_picture(model, texts, Picture(image, own_vae, seen), settings, reasoning, None)
    assert [each.shape[2] for each in steps] == [8] * reasoning + [2] * (STEPS - reasoning)
    expected = steps[-1][:, :, [0, -1]]
    assert (WAN_2_1.normalize(latent["samples"]) - expected).abs().max() <= LIMIT * expected.abs().max()
    assert (ours[0] - frames[0, -1].movedim(0, -1)).abs().max() <= LIMIT


def test_the_two_frames_lie_seven_latent_frames_apart():
    """As ComfyUI's ScaleROPE with scale_t 7 before a sampler, and the last frame of 5."""
    prompts, vae = encode("wan21_text.safetensors"), load_vae("wan21_vae.safetensors")
    size = {"width": 64, "height": 48, "frames": 5, "batch_size": 1, "fit": "crop", "start_image": picture()}
    *sides, latent = call("ImageToVideo", positive=prompts[0], negative=prompts[1], vae=vae, **size)
    stretched = with_policies(
        load("wan21_i2v.safetensors"), lambda policies: replace(policies, places=TokenPlaces((7.0, 1.0, 1.0)))
    )
    inputs = dict(zip(("positive", "negative", "latent"), (*sides, latent)))
    made = call("Sampler", model=stretched, **inputs, **WIDGETS, denoise=1.0)
    frames = call("Decode", vae=vae, latent=made)
    image, own = edited()
    assert torch.equal(own["samples"], made["samples"])
    assert torch.equal(image[0], frames[4])
    plain = call("Sampler", model=load("wan21_i2v.safetensors"), **inputs, **WIDGETS, denoise=1.0)["samples"]
    assert (plain - made["samples"]).abs().max() > 1e-4 * plain.abs().max()


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_goes_on_with_the_ends(solver):
    """What a solver remembers is cut to the ends, too: with a model that sees each frame by itself nothing changes."""

    class EachByItself:
        def start(self, kept=None):
            return self

        kept: dict = {}

        def __call__(self, latent, level, times=None):
            return 0.7 * latent + level.sigma

    schedule = make_schedule("simple", 6, 5.0)
    noise = torch.randn(1, 4, 8, 3, 4, generator=torch.Generator().manual_seed(1))
    state = begin(SOLVERS[solver], schedule, torch.zeros_like(noise), seed=4, noise=noise)
    whole = list(sample(EachByItself(), SOLVERS[solver], schedule, state))
    cut = list(sample(EachByItself(), SOLVERS[solver], schedule, only_ends(whole[2])))
    assert cut[-1].latent.shape == (1, 4, 2, 3, 4) and cut[-1].latent.isfinite().all()
    if not adds_noise(solver):
        torch.testing.assert_close(cut[-1].latent, whole[-1].latent[:, :, [0, -1]], rtol=1e-6, atol=1e-6)


def adds_noise(solver: str) -> bool:
    """Whether the noise of its steps is drawn in the shape of the latent."""
    return any(part in solver for part in ("ancestral", "sde", "lcm", "ddpm", "seeds", "sa_solver"))


@pytest.mark.parametrize("reasoning", [0, 2, 4])
def test_reasoning_gives_another_picture_of_the_same_form(reasoning, caplog):
    caplog.set_level(logging.WARNING, "wan_director")
    image, latent = edited("i2v.safetensors", reasoning_steps=reasoning)
    assert image.shape == (1, 48, 64, 3) and latent["samples"].shape == (1, 16, 2, 6, 8)
    plain, _ = edited("i2v.safetensors")
    assert torch.equal(image, plain) == (reasoning == 0)
    assert not any("is not called ChronoEdit" in line for line in caplog.messages)


def test_swapped_blocks_give_the_same_bits():
    whole, _ = edited(reasoning_steps=2)
    swapped, _ = edited(reasoning_steps=2, memory=MemorySettings(blocks_to_swap=2))
    assert torch.equal(whole, swapped)


def test_a_model_of_another_name_gets_a_line_in_the_log(caplog, models):
    caplog.set_level(logging.WARNING, "wan_director")
    edited()
    assert any("wan21_i2v.safetensors" in line and "is not called ChronoEdit" in line for line in caplog.messages)
    path = models / "diffusion_models" / "chrono_edit_test.safetensors"
    path.write_bytes((models / "diffusion_models" / "wan21_i2v.safetensors").read_bytes())
    caplog.clear()
    try:
        edited("chrono_edit_test.safetensors")
    finally:
        path.unlink()
    assert not any("is not called ChronoEdit" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("wan21_t2v.safetensors", "is a text-to-video model and cannot take a start image"),
        ("wan21_camera.safetensors", "edits no pictures: ChronoEdit does"),
        ("ti2v.safetensors", "takes its start image inside the latent"),
        ("lucy_edit.safetensors", "edits no pictures: ChronoEdit does"),
        ("vace.safetensors", "is a text-to-video model and cannot take a start image"),
    ],
)
def test_a_model_that_edits_no_pictures_is_refused_before_anything_is_encoded(model, sentence):
    with pytest.raises(PairingError, match=sentence):
        edited(model, vae=Unused())


class Unused:
    """A VAE that nothing may be asked of."""

    latent_channels, latent_dim = 16, 3

    def encode(self, _pixels):
        raise AssertionError("encoded")

    decode = encode

    def spacial_compression_encode(self):
        return 8


def windowed(model):
    return with_policies(model, lambda policies: replace(policies, windows=SlidingWindows(2, 1)))


def tiled(model):
    return call("Tiles", model=model, width=64, height=48, overlap=16)


def tiled_in_windows(model):
    return tiled(windowed(model))


def moving(model):
    return with_policies(model, lambda policies: replace(policies, places=TokenPlaces((1.2, 1.0, 1.0))))


def cached(model):
    settings = {"threshold": 0.5, "start": 0.0, "end": 1.0, "most_in_a_row": 2, "table": ""}
    return call("StepCache", model=model, method="easycache", **settings)


@pytest.mark.parametrize(
    ("changed", "inputs", "sentence"),
    [
        (windowed, {}, "Windows are on, .* Take the windows away"),
        (tiled, {}, "Tiles are on, .* Take the tiles away"),
        (tiled_in_windows, {}, "Tiles and windows are on, .* Take the tiles and windows away"),
        (moving, {}, "Take the motion away"),
        (cached, {"reasoning_steps": 1}, "Take the step cache away"),
        (None, {"reasoning_steps": 5}, "5 of 4 steps cannot reason. Use 0"),
        (None, {"reasoning_steps": -1}, "-1 of 4 steps cannot reason"),
        (None, {"solver": "none"}, "solver"),
        (None, {"schedule": "none"}, "schedule"),
        (None, {"steps": 0}, "Steps must be a whole number from 1 to 1000, got 0"),
        (None, {"image": picture(height=40)}, "multiple"),
        (None, {"image": "picture"}, "image must be"),
        (None, {"memory": 3}, "memory must be the settings of Wan Memory"),
        (None, {"clip_vision": 3}, "CLIP vision output"),
        (None, {"positive": []}, "positive conditioning must be"),
    ],
    ids=lambda value: value.__name__ if callable(value) else next(iter(value), "") if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_sampled(changed, inputs, sentence):
    model = load("wan21_i2v.safetensors")
    with pytest.raises(InvalidInputError, match=sentence):
        edited(model if changed is None else changed(model), **inputs)


def test_a_step_cache_serves_an_edit_that_does_not_reason():
    image, _ = edited(cached(load("wan21_i2v.safetensors")))
    assert image.isfinite().all()


def test_prompts_with_given_frames_of_their_own_are_refused():
    prompts, vae = encode("wan21_text.safetensors"), load_vae("wan21_vae.safetensors")
    size = {"width": 64, "height": 48, "frames": 5, "batch_size": 1, "fit": "crop", "start_image": picture()}
    positive, *_ = call("ImageToVideo", positive=prompts[0], negative=prompts[1], vae=vae, **size)
    with pytest.raises(InvalidInputError, match="The positive conditioning has given frames already"):
        edited(positive=positive)


def test_a_vae_of_another_model_is_refused():
    with pytest.raises(PairingError, match="Use wan_2.1_vae"):
        edited(vae=load_vae("wan22_vae.safetensors"))


def test_of_several_pictures_the_first_is_edited():
    both = torch.cat([picture(), picture().flip(2)])
    assert torch.equal(edited(image=both)[0], edited()[0])
