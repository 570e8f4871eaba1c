"""ComfyUI's own step caches on our bridged model and on its own one, and its EasyCache beside ours in Wan Sampler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import bench

import comfy.sample  # isort: skip  (its folder is named in bench)
import comfy.patcher_extension  # isort: skip
import comfy.sd  # isort: skip
import torch
from comfy_extras import nodes_easycache

STEPS, SEED, SHIFT = 20, 11, 8.0
EASY, LAZY = nodes_easycache.EasyCacheNode, nodes_easycache.LazyCacheNode
WIDGETS = (0.3, 0.15, 0.95, False)


def sides(kind: str) -> tuple[Any, Any]:
    return tuple(bench.conditioning(seed, bench.values_of(kind), 512) for seed in (1, 2))


def native_sampled(model: Any, kind: str, cfg: float) -> torch.Tensor:
    video = bench.latent_of(kind)
    latent, mask = video["samples"], video.get("noise_mask")
    noise = comfy.sample.prepare_noise(latent, SEED)
    return comfy.sample.sample(
        model, noise, STEPS, cfg, "euler", "simple", *sides(kind), latent, seed=SEED, noise_mask=mask
    )


def ours_sampled(video: Any, kind: str, cfg: float) -> torch.Tensor:
    settings = bench.module("engine.sampling.settings").SamplerSettings(SEED, STEPS, cfg, SHIFT, "euler", "simple")
    made, _ = bench.module("nodes.sockets.sampling").sampled(video, sides(kind), bench.latent_of(kind), settings)
    return made["samples"]


def copying(executor: Any, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
    return executor(x.clone(), *arguments, **options)


def with_copied_input(model: Any) -> Any:
    """The host's EasyCache writes its answer into the latent it was asked about, which in float32 is the sampler's."""
    model = model.clone()
    model.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, copying)
    return model


def with_our_cache(video: Any) -> Any:
    """As the command line has EasyCache."""
    native = bench.module("nodes.sockets.native_model").NativeModel(video, SHIFT)
    node = bench.module("nodes.headless.core_nodes.wan").EasyCache
    return node.execute(native, *WIDGETS).args[0].model


def rows() -> Iterator[tuple[str, str, float]]:
    for kind in ("t2v", "i2v", "5b", "vace"):
        path = bench.model_file(kind)
        video, beside = bench.ours(path), comfy.sd.load_diffusion_model(str(path))
        bridged = bench.bridged(video)
        for cfg in (1.0, 3.0):
            plain = native_sampled(beside, kind, cfg)
            for node in (EASY, LAZY):
                expected = native_sampled(node.execute(beside, *WIDGETS).result[0], kind, cfg)
                made = native_sampled(node.execute(bridged, *WIDGETS).result[0], kind, cfg)
                name = f"{node.__name__.removesuffix('Node')}, {kind}, cfg {cfg:g}"
                yield "bridged", name, bench.error(made, expected)
                yield "effect", name, bench.error(expected, plain)
            expected = native_sampled(EASY.execute(with_copied_input(beside), *WIDGETS).result[0], kind, cfg)
            yield "Wan Sampler", name, bench.error(ours_sampled(with_our_cache(video), kind, cfg), expected)
            yield "effect", f"{name}, copied input", bench.error(expected, plain)


print(json.dumps({"rows": list(rows())}))
