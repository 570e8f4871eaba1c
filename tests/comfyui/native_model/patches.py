"""Native patch nodes, guiders and wrappers on our bridged model beside ComfyUI's own, and what is refused."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import bench

import comfy.ldm.wan.model  # isort: skip  (its folder is named in bench)
import comfy.model_patcher  # isort: skip
import comfy.patcher_extension  # isort: skip
import comfy.sample  # isort: skip
import comfy.samplers  # isort: skip
import comfy.sd  # isort: skip
import torch
from comfy_extras import nodes_custom_sampler, nodes_easycache, nodes_model_advanced, nodes_model_merging, nodes_slg

Change = Callable[[Any], Any]
PATCHES_INSIDE = "attn2_patch" in inspect.getsource(comfy.ldm.wan.model)
"""Whether this ComfyUI's Wan has patches inside of blocks."""
STYLE = ["regular"]


def sides(values: dict[str, Any] | None = None) -> tuple[Any, Any]:
    return bench.conditioning(1, values or {}, 24), bench.conditioning(2, values or {}, 24)


def sampled(model: Any, values: dict[str, Any] | None = None, steps: int = 6, kind: str = "t2v") -> torch.Tensor:
    latent = bench.latent_of(kind)["samples"]
    noise = comfy.sample.prepare_noise(latent, 5)
    values = bench.values_of(kind) if values is None else values
    return comfy.sample.sample(model, noise, steps, 3.0, "euler", "simple", *sides(values), latent, seed=5)


def cloned(change: Callable[[Any], Any]) -> Change:
    def changed(model: Any) -> Any:
        other = model.clone()
        change(other)
        return other

    return changed


def output(node: Any, *inputs: Any, **named: Any) -> Any:
    """The first output of a node of either interface."""
    made = node.execute(*inputs, **named) if hasattr(node, "execute") else None
    if made is None:
        made = getattr(node(), node.FUNCTION)(*inputs, **named)
    return made.result[0] if hasattr(made, "result") else made[0]


def shift(model: Any) -> Any:
    return output(nodes_model_advanced.ModelSamplingSD3, model, 3.0)


def skip_layers(model: Any) -> Any:
    return output(nodes_slg.SkipLayerGuidanceDiT, model, 2.0, 0.0, 1.0, "1, 2", "0", 0.0)


def replaced_block(arguments: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Blends a block's answer for a weaker prompt with what came in."""
    shown = {**arguments, "txt": arguments["txt"] * 0.5, "vec": arguments["vec"] * 0.9}
    return {"img": (extra["original_block"](shown)["img"] + arguments["img"]) / 2}


def wrapper(executor: Any, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
    return executor(x * 0.9, *arguments, **options) * 1.1


def attention(function: Any, q: Any, k: Any, v: Any, *arguments: Any, **options: Any) -> Any:
    return function(q * 1.2, k, v, *arguments, **options) * 0.9


def rows() -> Iterator[tuple[str, str, float]]:
    changes: dict[str, Change] = {
        "ModelSamplingSD3": shift,
        "SkipLayerGuidanceDiT": skip_layers,
        "EasyCache": lambda model: output(nodes_easycache.EasyCacheNode, model, 0.5, 0.1, 0.95, False),
        "block replaced": cloned(lambda model: model.set_model_patch_replace(replaced_block, "dit", "double_block", 1)),
        "wrapper of the transformer": cloned(
            lambda model: model.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, wrapper)
        ),
        "wrapper of the model": cloned(
            lambda model: model.add_wrapper(comfy.patcher_extension.WrappersMP.APPLY_MODEL, wrapper)
        ),
        "function wrapper": cloned(
            lambda model: model.set_model_unet_function_wrapper(
                lambda apply, given: apply(given["input"], given["timestep"], **given["c"]) * 0.9
            )
        ),
        "attention override": cloned(
            lambda model: model.model_options["transformer_options"].update(optimized_attention_override=attention)
        ),
        "cfg function": cloned(lambda model: model.set_model_sampler_post_cfg_function(lambda a: a["denoised"] * 0.9)),
        "RescaleCFG": lambda model: output(nodes_model_advanced.RescaleCFG, model, 0.7),
    }
    if PATCHES_INSIDE:
        changes |= inside()
    for kind in ("t2v", "i2v", "vace"):
        path = bench.model_file(kind)
        pair = bench.bridged(bench.ours(path)), comfy.sd.load_diffusion_model(str(path))
        plain = sampled(pair[0], kind=kind)
        for name, change in changes.items():
            made, expected = (sampled(change(model), kind=kind) for model in pair)
            yield f"{name}, {kind}", "native", bench.error(made, expected)
            yield f"{name}, {kind}", "effect", bench.error(made, plain)
        yield f"afterwards, {kind}", "native", bench.error(sampled(pair[0], kind=kind), plain)
    yield from guided()


def inside() -> dict[str, Change]:
    """Patches in the places that newer versions have."""

    def doubled(told: dict[str, Any]) -> dict[str, Any]:
        return {"img": told["img"] * (1.1 if told["block_index"] % 2 else 0.95) + told["vec"].mean()}

    def seen(told: dict[str, Any]) -> torch.Tensor:
        options = told["transformer_options"]
        return told["x"] + 0.01 * (options["block_index"] + 1) * options["grid_sizes"][0] * told["q"].std()

    def after(told: dict[str, Any]) -> torch.Tensor:
        return told["x"] * (1 + 0.05 * told["transformer_options"]["block_index"])

    return {
        "patch of blocks": cloned(lambda model: model.set_model_double_block_patch(doubled)),
        "patch of self-attention": cloned(lambda model: model.set_model_attn1_patch(seen)),
        "patch after attention": cloned(lambda model: model.set_model_attn2_patch(after)),
        "ScaleROPE": cloned(lambda model: model.set_model_rope_options(1.5, 0.5, 0.8, 1.0, 0.7, 2.0)),
    }


def guided() -> Iterator[tuple[str, str, float]]:
    """SamplerCustomAdvanced with guiders, and context windows."""
    path = bench.model_file("t2v")
    pair = bench.bridged(bench.ours(path)), comfy.sd.load_diffusion_model(str(path))
    (positive, negative), third = sides(), bench.conditioning(3, {}, 24)
    guiders = {
        "BasicGuider": lambda model: output(nodes_custom_sampler.BasicGuider, model, positive),
        "CFGGuider": lambda model: output(nodes_custom_sampler.CFGGuider, model, positive, negative, 2.5),
        "DualCFGGuider": lambda model: output(
            nodes_custom_sampler.DualCFGGuider,
            model,
            positive,
            third,
            negative,
            3.0,
            2.0,
            *STYLE,
        ),
    }
    for name, make in guiders.items():
        yield f"SamplerCustomAdvanced with {name}", "native", bench.error(*(custom(make, model) for model in pair))
    try:
        from comfy_extras import nodes_context_windows
    except ImportError:
        return
    node, wanted = nodes_context_windows.WanContextWindowsManualNode, {
        "context_length": 9, "context_overlap": 4, "context_schedule": "standard_static", "context_stride": 1,
        "closed_loop": False, "fuse_method": "pyramid", "freenoise": False,
    }  # fmt: skip
    known = inspect.signature(node.execute).parameters
    options = {name: value for name, value in wanted.items() if name in known}
    windows = [output(node, model, **options) for model in pair]
    yield "context windows", "native", bench.error(*(long(model) for model in windows))
    yield "context windows", "effect", bench.error(long(windows[0]), long(pair[0]))


def custom(make: Callable[[Any], Any], model: Any) -> torch.Tensor:
    noise = output(nodes_custom_sampler.RandomNoise, 7)
    sampler = output(nodes_custom_sampler.KSamplerSelect, "dpmpp_2m")
    sigmas = output(nodes_custom_sampler.BasicScheduler, shift(model), "beta", 4, 1.0)
    latent = bench.latent_of("t2v")
    return output(nodes_custom_sampler.SamplerCustomAdvanced, noise, make(model), sampler, sigmas, latent)["samples"]


def long(model: Any) -> torch.Tensor:
    latent = torch.zeros(1, 16, 5, 6, 4)
    noise = comfy.sample.prepare_noise(latent, 5)
    return comfy.sample.sample(model, noise, 3, 3.0, "euler", "simple", *sides(), latent, seed=5)


def refusals() -> dict[str, str]:
    """What is refused -> the sentence."""
    path = bench.model_file("t2v")
    model = bench.bridged(bench.ours(path))
    quantised = bench.bridged(bench.ours(path, precision="fp8_scaled"))
    broken: dict[str, Change] = {
        "object patch": cloned(lambda other: other.add_object_patch("diffusion_model.blocks.0", torch.nn.Identity())),
        "unknown patch": cloned(lambda other: other.set_model_attn1_output_patch(lambda *told: told)),
        "replaced attention": cloned(lambda other: other.set_model_attn2_replace(lambda *told: told, "middle", 0)),
        "injection": cloned(lambda other: other.set_injections("bypass", [INJECTION])),
    }
    if hasattr(comfy.model_patcher.ModelPatcher, "set_model_compute_dtype"):
        broken["compute dtype"] = cloned(lambda other: other.set_model_compute_dtype(torch.float16))
    asked: dict[str, Callable[[], Any]] = {
        name: lambda change=change: sampled(change(model)) for name, change in broken.items()
    }
    asked["context latents"] = lambda: sampled(model, {"context_latents": [bench.random(3, 1, 16, 1, 6, 4)]})
    asked["saved"] = lambda: model.model.state_dict_for_saving({})
    asked["merged quantised"] = lambda: output(nodes_model_merging.ModelMergeSimple, model, quantised, 0.5)
    call = torch.zeros(1, 16, *bench.VIDEO), torch.ones(1), torch.zeros(1, 8, bench.TEXT)
    asked["outside of a run"] = lambda: model.model.diffusion_model(*call)
    asked["ControlNet"] = lambda: model.model.diffusion_model(*call, control={"output": []})
    if hasattr(nodes_custom_sampler, "DualModelGuider"):
        twin, (positive, negative) = bench.bridged(bench.ours(path)), sides()
        asked["same weights twice"] = lambda: custom(
            lambda first: output(nodes_custom_sampler.DualModelGuider, first, positive, 3.0, twin, negative), model
        )
    asked["pair"] = lambda: bench.bridged(
        bench.module("engine.models").with_low_noise(*(bench.ours(bench.model_file(kind)) for kind in ("high", "low")))
    )
    return {name: sentence(ask) for name, ask in asked.items()}


INJECTION = comfy.patcher_extension.PatcherInjection(inject=lambda _patcher: None, eject=lambda _patcher: None)


def sentence(ask: Callable[[], Any]) -> str:
    try:
        ask()
    except bench.module("common.errors").WanDirectorError as error:
        return str(error)
    return ""


with torch.inference_mode():
    print(json.dumps({"rows": list(rows()), "refusals": refusals(), "patches_inside": PATCHES_INSIDE}))
