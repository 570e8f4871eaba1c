"""ComfyUI's nodes about models on the command line: our engine, with the meaning that they have there."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import InvalidInputError
from wan_director.common.families import WAN_2_1
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.core_nodes.sampling import LEFT_OUT, SCHEDULE_OF, SCHEDULERS, SOLVER_OF
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.sockets.native_model import NATIVE_SHIFT
from wan_director.sampling.solvers import SOLVERS

from ..conftest import HIGH, LOW, call, load, picture, save_experts
from .conftest import SIZE, core, node, unet, vae

pytestmark = pytest.mark.usefixtures("inference")


def refusal(name: str, **values) -> str:
    """What a node says to widgets before anything runs."""
    return CORE_NODES[name].validate_inputs(**values)


@pytest.fixture
def lora(models: Path) -> str:
    """The name of a LoRA file for the tiny models."""
    (models / "loras").mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(3)
    layer = "diffusion_model.blocks.0.self_attn.q.lora_"
    shapes = {f"{layer}down.weight": (4, 48), f"{layer}up.weight": (48, 4)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, models / "loras" / "core.safetensors")
    return "core.safetensors"


def empty(frames: int = 9) -> dict:
    return {"samples": torch.zeros(1, 16, (frames - 1) // 4 + 1, 6, 8)}


def encoded() -> dict:
    """A raw latent of the size of `empty`."""
    return {"samples": torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(5))}


def ksampler(model, prompts, latent, **changes) -> torch.Tensor:
    settings = {"seed": 7, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    return core("KSampler", model=model, latent_image=latent, **prompts, **{**settings, **changes})["samples"]


def advanced(model, prompts, latent, **changes) -> dict:
    settings = {
        "add_noise": "enable", "noise_seed": 7, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple",
        "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable",
    }  # fmt: skip
    return core("KSamplerAdvanced", model=model, latent_image=latent, **prompts, **{**settings, **changes})


def wan_sampler(model, prompts, latent, **changes) -> torch.Tensor:
    settings = {
        "seed": 7, "steps": 4, "cfg": 3.0, "shift": NATIVE_SHIFT, "solver": "euler", "schedule": "simple",
        "denoise": 1.0,
    }  # fmt: skip
    return call("Sampler", model=model, latent=latent, **prompts, **{**settings, **changes})["samples"]


@pytest.mark.parametrize(
    ("sampler", "scheduler"), [*((name, "simple") for name in SOLVER_OF), *(("euler", name) for name in SCHEDULE_OF)]
)
def test_ksampler_is_the_wan_sampler_to_the_bit(sampler, scheduler, prompts):
    for latent, denoise in ((empty(), 1.0), (encoded(), 0.6)):
        names = {"solver": SOLVER_OF[sampler], "schedule": SCHEDULE_OF[scheduler]}
        ours = wan_sampler(load("t2v.safetensors"), prompts, latent, denoise=denoise, **names)
        theirs = ksampler(unet(), prompts, latent, denoise=denoise, sampler_name=sampler, scheduler=scheduler)
        assert torch.equal(theirs, ours)


def test_the_shift_is_the_models(prompts):
    model = core("ModelSamplingSD3", model=unet(), shift=3.0)
    assert model.shift == 3.0 and unet().shift == NATIVE_SHIFT == 8.0
    assert torch.equal(
        ksampler(model, prompts, empty()), wan_sampler(load("t2v.safetensors"), prompts, empty(), shift=3.0)
    )
    assert not torch.equal(ksampler(model, prompts, empty()), ksampler(unet(), prompts, empty()))


def test_a_shift_of_0_is_refused():
    with pytest.raises(InvalidInputError, match="Shift must be above 0"):
        core("ModelSamplingSD3", model=unet(), shift=0.0)


def test_a_noise_mask_counts_as_for_the_wan_sampler(prompts):
    mask = torch.zeros(1, 48, 64)
    mask[:, :, 32:] = 1.0
    latent = core("SetLatentNoiseMask", samples=encoded(), mask=mask)
    assert latent["noise_mask"].shape == (1, 1, 48, 64)
    made = ksampler(unet(), prompts, latent, denoise=0.7)
    assert torch.equal(made, wan_sampler(load("t2v.safetensors"), prompts, latent, denoise=0.7))
    kept = WAN_2_1.denormalize(WAN_2_1.normalize(latent["samples"]))
    assert torch.allclose(made[..., :4], kept[..., :4], atol=1e-5) and not torch.allclose(made, kept, atol=1e-2)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_two_ksamplers_advanced_make_one_run(cut, sampler, prompts):
    whole = ksampler(unet(), prompts, empty(), sampler_name=sampler)
    first = advanced(
        unet(), prompts, empty(), sampler_name=sampler, end_at_step=cut, return_with_leftover_noise="enable"
    )
    rest = {"add_noise": "disable", "noise_seed": 0, "start_at_step": cut, "sampler_name": sampler}
    both = advanced(unet(), prompts, first, **rest)["samples"]
    # The latent between is brought to raw units and divided by its signal weight, and back: roundings of float32.
    assert (both - whole).abs().max() < 1e-4 * whole.abs().max()
    assert not torch.allclose(first["samples"], whole, atol=1e-2)


def test_one_ksampler_advanced_for_all_steps_is_ksampler_to_the_bit(prompts):
    assert torch.equal(advanced(unet(), prompts, empty())["samples"], ksampler(unet(), prompts, empty()))


def test_two_ksamplers_advanced_are_wan_two_experts(models, prompts):
    save_experts(models)
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=2.0, high_noise_steps=2)
    expected = wan_sampler(pair, prompts, empty(), shift=5.0)
    high, low = (core("ModelSamplingSD3", model=unet(name), shift=5.0) for name in (HIGH, LOW))
    first = advanced(high, prompts, empty(), end_at_step=2, return_with_leftover_noise="enable")
    made = advanced(low, prompts, first, add_noise="disable", noise_seed=0, cfg=2.0, start_at_step=2)["samples"]
    assert (made - expected).abs().max() < 1e-4 * expected.abs().max()
    swapped = advanced(high, prompts, first, add_noise="disable", noise_seed=0, cfg=2.0, start_at_step=2)["samples"]
    assert (made - swapped).abs().max() > 1e-2 * expected.abs().max()


def test_leftover_noise_is_that_of_native_nodes(prompts):
    """x after the step, divided by 1 - sigma: euler of one step, restated from its result at sigma 0."""
    model, latent = core("ModelSamplingSD3", model=unet(), shift=5.0), empty()
    clean = advanced(model, prompts, latent, steps=4, end_at_step=1)  # one step from 1 to 0: the first guess
    left = advanced(model, prompts, latent, steps=4, end_at_step=1, return_with_leftover_noise="enable")
    family = model.model.spec.family
    noise = torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(7))
    sigma = 5.0 * 0.75 / (1 + 4.0 * 0.75)
    guess = family.normalize(clean["samples"])
    expected = family.denormalize((sigma * noise + (1 - sigma) * guess) / (1 - sigma))
    assert torch.allclose(left["samples"], expected, rtol=1e-4, atol=1e-4)


def test_a_start_beyond_the_end_gives_the_latent_as_it_is(prompts):
    latent = encoded()
    made = advanced(unet(), prompts, latent, start_at_step=4)["samples"]
    assert torch.allclose(made, latent["samples"], atol=1e-5)


def test_samplers_that_are_not_here_are_refused_with_the_nearest_one():
    assert refusal("KSampler", sampler_name="res_multistep_cfg_pp", scheduler="simple") == (
        "The sampler 'res_multistep_cfg_pp' does not run on the command line: it steps along what the negative prompt "
        "alone gives. Choose 'res_multistep', which comes nearest, or run this workflow in ComfyUI."
    )
    assert "Choose 'dpm_2'" in refusal("KSamplerAdvanced", sampler_name="dpm_adaptive", scheduler="simple")
    words = refusal("KSampler", sampler_name="res_2s", scheduler="simple")
    assert words.startswith("The sampler 'res_2s' does not run on the command line. Choose one of: euler, euler_ances")
    words = refusal("KSamplerAdvanced", sampler_name="euler", scheduler="bong_tangent")
    assert "The scheduler 'bong_tangent' does not run" in words and "simple, sgm_uniform, karras" in words
    assert refusal("KSampler", sampler_name="uni_pc", scheduler="beta") is True


def test_what_is_left_out_has_a_nearest_one_that_is_here():
    assert {nearest for _reason, nearest in LEFT_OUT.values()} <= set(SOLVER_OF)
    assert set(SOLVER_OF.values()) <= set(SOLVERS) and set(SCHEDULE_OF) == set(SCHEDULERS)


def test_noise_that_differs_from_comfyuis_is_told(prompts, caplog):
    with caplog.at_level(logging.WARNING, logger="wan_director"):
        ksampler(unet(), prompts, empty(), steps=1, sampler_name="dpmpp_2m_sde_gpu")
    assert "the same seed gives another video" in caplog.text


def test_ddim_shows_what_a_mask_keeps_with_other_noise(prompts):
    mask = torch.zeros(1, 64, 48)
    mask[:, 32:] = 1.0
    latent = core("SetLatentNoiseMask", samples=encoded(), mask=mask)
    masked = [ksampler(unet(), prompts, latent, sampler_name=name) for name in ("ddim", "euler")]
    assert not torch.equal(*masked)
    plain = [ksampler(unet(), prompts, empty(), sampler_name=name) for name in ("ddim", "euler")]
    assert torch.equal(*plain)


def test_an_empty_latent_becomes_that_of_the_model(wan21_prompts):
    """16 channels at an eighth of the size become 48 at a sixteenth for TI2V-5B."""
    latent = core("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=2)
    assert latent["samples"].shape == (2, 16, 2, 8, 8)
    made = core(
        "KSampler", model=unet("ti2v.safetensors"), seed=1, steps=1, cfg=1.0, sampler_name="euler", scheduler="simple",
        latent_image=latent, denoise=1.0, **wan21_prompts,
    )  # fmt: skip
    assert made["samples"].shape == (2, 48, 2, 4, 4) and "downscale_ratio_spacial" not in made


def test_loras_count_as_those_of_wan_lora(lora, prompts):
    model = core("LoraLoaderModelOnly", model=unet(), lora_name=lora, strength_model=0.7)
    ours = call(
        "Lora", model=load("t2v.safetensors"), lora_name=lora, strength=0.7, blocks="all", start_percent=0.0,
        end_percent=1.0, merge=False,
    )  # fmt: skip
    assert torch.equal(ksampler(model, prompts, empty()), wan_sampler(ours, prompts, empty()))
    assert not torch.equal(ksampler(model, prompts, empty()), ksampler(unet(), prompts, empty()))
    plain = unet()
    assert core("LoraLoaderModelOnly", model=plain, lora_name=lora, strength_model=0.0) is plain
    assert core("ModelSamplingSD3", model=model, shift=2.0).model.loras == model.model.loras


def test_the_text_encoder_of_load_lora_comes_out_as_it_went_in(lora, caplog):
    with caplog.at_level(logging.INFO, logger="wan_director"):
        model, clip = core(
            "LoraLoader", model=unet(), clip="clip", lora_name=lora, strength_model=1.0, strength_clip=0.5
        )
    assert clip == "clip" and len(model.model.loras) == 1
    assert "strength_clip 0.5 has no effect" in caplog.text


def test_loaders_say_what_they_cannot_load():
    assert "is not in" in refusal("UNETLoader", unet_name="none.safetensors")
    assert "is not in" in refusal("LoraLoader", lora_name="none.safetensors")
    assert "Choose the type wan" in refusal("CLIPLoader", clip_name="text.safetensors", type="sd3")
    assert refusal("CLIPLoader", clip_name="text.safetensors", type="wan") is True
    assert refusal("VAELoader", vae_name="vae.safetensors") is True
    assert refusal("VAELoader", vae_name="pixel_space") is not True
    assert refusal("CLIPVisionLoader", clip_name="clip.safetensors") is True
    assert refusal("UnetLoaderGGUF", unet_name="t2v.safetensors") is True


@pytest.mark.parametrize(("theirs", "ours"), [("fp8_e4m3fn", "fp8_e4m3fn"), ("fp8_e4m3fn_fast", "fp8_compute")])
def test_weight_types_are_ours(theirs, ours):
    assert unet(weight_dtype=theirs).model.recipe.precision == ours
    assert unet().model.recipe.precision == "auto"


def test_gguf_loaders_load_as_the_others():
    assert core("UnetLoaderGGUF", unet_name="t2v.safetensors").model is unet().model
    assert core("CLIPLoaderGGUF", clip_name="text.safetensors", type="wan").spec.path.name == "text.safetensors"


def test_the_cpu_is_chosen_for_the_text_encoder():
    assert core("CLIPLoader", clip_name="text.safetensors", type="wan", device="cpu").placed.recipe.device == "cpu"


def test_a_model_of_another_kind_of_node_is_refused(prompts):
    with pytest.raises(InvalidInputError, match="model of Load Diffusion Model"):
        ksampler(load("t2v.safetensors"), prompts, empty())


def test_a_given_start_image_is_that_of_wan_image_to_video(prompts):
    """The same picture at the video's size, through both faces: the same conditioning, the same video."""
    encoder, start = vae(), picture(1)
    features = core(
        "CLIPVisionEncode", clip_vision=core("CLIPVisionLoader", clip_name="clip.safetensors"), image=start, crop="none"
    )
    *native, latent = core(
        "WanImageToVideo", **prompts, vae=encoder, **SIZE, start_image=start, clip_vision_output=features
    )
    *own, _ = call(
        "ImageToVideo", **prompts, vae=encoder, width=64, height=48, frames=9, batch_size=1, fit="crop",
        start_image=start, clip_vision_start=features,
    )  # fmt: skip
    made = ksampler(unet("i2v.safetensors"), dict(zip(prompts, native)), latent)
    assert torch.equal(made, wan_sampler(load("i2v.safetensors"), dict(zip(prompts, own)), latent))


def ours(name: str) -> str:
    """A node's name in the pack."""
    assert f"WanDirector{name}" in NODE_CLASS_MAPPINGS
    return f"WanDirector{name}"


@pytest.fixture
def text_to_video() -> dict:
    """Two experts with a LoRA each, as native nodes run them; 64x48, 5 frames."""
    sampler = {"steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    sampler |= {"positive": ["positive", 0], "negative": ["negative", 0]}
    graph = {
        "clip": node("CLIPLoader", clip_name="text.safetensors", type="wan", device="default"),
        "positive": node("CLIPTextEncode", text="a red ball", clip=["clip", 0]),
        "negative": node("ConditioningZeroOut", conditioning=["positive", 0]),
        "vae": node("VAELoader", vae_name="vae.safetensors"),
        "latent": node("EmptyHunyuanLatentVideo", width=64, height=48, length=5, batch_size=1),
        "first": node(
            "KSamplerAdvanced", model=["high_shift", 0], add_noise="enable", noise_seed=7, latent_image=["latent", 0],
            start_at_step=0, end_at_step=2, return_with_leftover_noise="enable", **sampler,
        ),
        "second": node(
            "KSamplerAdvanced", model=["low_shift", 0], add_noise="disable", noise_seed=0, latent_image=["first", 0],
            start_at_step=2, end_at_step=4, return_with_leftover_noise="disable", **sampler,
        ),
        "frames": node("VAEDecode", samples=["second", 0], vae=["vae", 0]),
        "save": node("SaveImage", images=["frames", 0], filename_prefix="x"),
    }  # fmt: skip
    for part, name in (("high", HIGH), ("low", LOW)):
        graph[part] = node("UNETLoader", unet_name=name, weight_dtype="default")
        graph[f"{part}_lora"] = node(
            "LoraLoaderModelOnly", model=[part, 0], lora_name="core.safetensors", strength_model=1.0
        )
        graph[f"{part}_shift"] = node("ModelSamplingSD3", model=[f"{part}_lora", 0], shift=5.0)
    return graph


def test_a_graph_of_native_nodes_runs(models, lora, text_to_video, tiny_host):
    save_experts(models)
    (shown,) = run_graph(parse_graph(text_to_video, CORE_NODES), CORE_NODES)
    assert len(shown["images"]) == 5
    assert all((tiny_host.output / each["filename"]).is_file() for each in shown["images"])


def test_what_cannot_run_in_a_graph_is_said_before_anything_is_loaded(models, lora, text_to_video):
    save_experts(models)
    text_to_video["second"]["inputs"]["sampler_name"] = "dpm_fast"
    with pytest.raises(InvalidInputError, match=r"KSamplerAdvanced \(node second\): The sampler 'dpm_fast' does not"):
        run_graph(parse_graph(text_to_video, CORE_NODES), CORE_NODES)


def test_native_and_own_nodes_share_all_but_the_model(prompts):
    """A latent, prompts and a VAE of one kind of node serve the other."""
    latent = call("EmptyLatent", vae=vae(), width=64, height=48, frames=9, batch_size=1)
    made = ksampler(unet(), prompts, latent)
    assert call("Decode", vae=vae(), latent={"samples": made}).shape == (9, 48, 64, 3)
    assert CORE_NODES["UNETLoader"].RETURN_TYPES != NODE_CLASS_MAPPINGS[ours("LoadModel")].RETURN_TYPES
