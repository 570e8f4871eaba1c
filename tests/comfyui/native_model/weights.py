"""What native nodes do to the weights of our bridged model: LoRAs on every form of file, hooks, merges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench

import comfy.hooks  # isort: skip  (its folder is named in bench)
import comfy.sample  # isort: skip
import comfy.sd  # isort: skip
import comfy.utils  # isort: skip
import nodes  # isort: skip
import torch

FORMS = Path(bench.FOLDER) / "forms"
Row = tuple[str, str, float]


def sampled(model: Any, sides: Any = None, sampler: str = "euler", callback: Any = None) -> torch.Tensor:
    positive, negative = sides or (bench.conditioning(1, {}, 24), bench.conditioning(2, {}, 24))
    latent = bench.latent_of("t2v")["samples"]
    noise = comfy.sample.prepare_noise(latent, 5)
    return comfy.sample.sample(
        model, noise, 4, 3.0, sampler, "simple", positive, negative, latent, callback=callback, seed=5
    )


def with_native_lora(model: Any, file: Path, strength: float) -> Any:
    """What LoraLoaderModelOnly gives."""
    return comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(file)), strength, 0)[0]


def with_own_lora(video: Any, file: Path, strength: float, **more: Any) -> Any:
    lora = bench.module("engine.recipe").LoraRecipe(file, strength, **more)
    return bench.module("engine.models").with_lora(video, lora)


def form_rows() -> Iterator[Row]:
    """A LoRA by the native node behind the bridge, and by our own before it."""
    for file in sorted(FORMS.iterdir()):
        video = bench.ours(file)
        plain, native = bench.bridged(video), with_native_lora(bench.bridged(video), LORA, 0.8)
        made = sampled(native)
        yield "LoRA", file.name, bench.error(made, sampled(bench.bridged(with_own_lora(video, LORA, 0.8))))
        yield "effect of the LoRA", file.name, bench.error(made, sampled(plain))
        yield "swapped in the midst", file.name, bench.error(sampled(native, callback=taken_away(native)), made)
        rare = with_native_lora(bench.bridged(video), RARE, 0.8)
        yield "rare forms, swapped", file.name, bench.error(sampled(rare, callback=taken_away(rare)), sampled(rare))
        both = with_native_lora(with_native_lora(bench.bridged(video), LORA, 0.3), LORA, 0.5)
        yield "LoRA twice", file.name, bench.error(sampled(both), made)
        yield "without it again", file.name, bench.error(sampled(plain), sampled(bench.bridged(video)))


def taken_away(model: Any) -> Any:
    """A callback that takes a part of the weights away after the second step, as another model's loading does."""

    def callback(step: int, *_state: Any) -> None:
        if step == 1:
            assert model.partially_unload(torch.device("cpu"), 1) > 0

    return callback


def native_rows() -> Iterator[Row]:
    """The same by ComfyUI's own model, in float32."""
    path = bench.model_file("t2v")
    pair = bench.bridged(bench.ours(path)), comfy.sd.load_diffusion_model(str(path))
    for name, file in (("LoRA", LORA), ("rare forms", RARE)):
        results = [sampled(with_native_lora(model, file, 0.7)) for model in pair]
        yield "native", name, bench.error(*results)
        yield "effect", name, bench.error(results[0], sampled(pair[0]))
    yield "native", "hooks", bench.error(*(sampled(model, hooked()) for model in pair))
    yield "effect", "hooks", bench.error(sampled(pair[0], hooked()), sampled(pair[0]))
    yield "native", "hooks with keyframes", bench.error(*(sampled(model, hooked(keyframes=True)) for model in pair))
    other = bench.model_file("high")
    others = bench.bridged(bench.ours(other)), comfy.sd.load_diffusion_model(str(other))
    merged = [_merged(model, second) for model, second in zip(pair, others)]
    yield "native", "merged models", bench.error(*(sampled(model) for model in merged))
    wrapped = [model.clone() for model in pair]
    for model in wrapped:
        model.add_weight_wrapper("diffusion_model.blocks.1.ffn.0.weight", lambda weight: weight * -2)
    yield "native", "weight wrapper", bench.error(*(sampled(model) for model in wrapped))
    yield "effect", "weight wrapper", bench.error(sampled(wrapped[0]), sampled(pair[0]))


def hooked(keyframes: bool = False) -> tuple[Any, Any]:
    hooks = comfy.hooks.create_hook_lora(comfy.utils.load_torch_file(str(LORA)), 0.6, 0.0)
    if keyframes:
        group = comfy.hooks.HookKeyframeGroup()
        group.add(comfy.hooks.HookKeyframe(strength=0.2, start_percent=0.0))
        group.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.3))
        hooks.set_keyframes_on_hooks(group)
    positive = comfy.hooks.set_hooks_for_conditioning(bench.conditioning(1, {}, 24), hooks)
    return positive, bench.conditioning(2, {}, 24)


def _merged(model: Any, second: Any) -> Any:
    """What ModelMergeSimple gives, but for the modulation, which native models leave as it was without a word."""
    whole = model.clone()
    for key, value in second.get_key_patches("diffusion_model.").items():
        if not key.endswith("modulation"):
            whole.add_patches({key: value}, 0.4, 0.6)
    return whole


def span_rows() -> Iterator[Row]:
    """A LoRA of ours for a part of the steps, bridged and in our own sampler."""
    video = with_own_lora(bench.ours(bench.model_file("t2v")), LORA, 1.0, start=0.5, end=1.0)
    sides = bench.conditioning(1, {}, 512), bench.conditioning(2, {}, 512)
    settings = bench.module("engine.sampling.settings").SamplerSettings(5, 4, 3.0, 8.0, "euler", "simple")
    beside, _ = bench.module("nodes.sockets.sampling").sampled(video, sides, bench.latent_of("t2v"), settings)
    yield "own LoRA", "second half of the steps", bench.error(sampled(bench.bridged(video), sides), beside["samples"])


LORA, RARE = Path(bench.FOLDER) / "lora.safetensors", Path(bench.FOLDER) / "rare.safetensors"
assert nodes
with torch.inference_mode():
    print(json.dumps({"rows": [*form_rows(), *native_rows(), *span_rows()]}))
