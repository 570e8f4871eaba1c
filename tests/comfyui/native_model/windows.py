"""ComfyUI's context windows on its own models, beside its nodes as the command line has them in Wan Sampler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import bench

import comfy.sample  # isort: skip  (its folder is named in bench)
import comfy.sd  # isort: skip
import torch
from comfy_extras import nodes_context_windows

bench.VIDEO = (13, 6, 4)
STEPS, SEED, SHIFT, CFG = 5, 11, 8.0, 3.0
WINDOWS = {
    "context_length": 17, "context_overlap": 8, "context_schedule": "standard_uniform", "context_stride": 1,
    "closed_loop": False, "fuse_method": "pyramid", "freenoise": True, "retain_first_frame": False,
    "split_conds_to_windows": False,
}  # fmt: skip
LATENT_WINDOWS = {name: value for name, value in WINDOWS.items() if name != "retain_first_frame"} | {
    "context_length": 5, "context_overlap": 2, "dim": 2, "cond_retain_index_list": "", "latent_retain_index_list": "",
    "causal_window_fix": False,
}  # fmt: skip
CASES = {
    "as it comes": ("WanContextWindowsManual", {}),
    "static, linear": (
        "WanContextWindowsManual", {"context_schedule": "standard_static", "fuse_method": "overlap-linear"},
    ),
    "relative": ("WanContextWindowsManual", {"fuse_method": "relative", "freenoise": False}),
    "first frame kept": ("WanContextWindowsManual", {"retain_first_frame": True}),
    "latent frames": ("ContextWindowsManual", {"fuse_method": "flat"}),
    "latent frames, first kept": ("ContextWindowsManual", {"cond_retain_index_list": "0"}),
    "latent frames, frame before": ("ContextWindowsManual", {"causal_window_fix": True}),
}  # fmt: skip
NODES = {
    "WanContextWindowsManual": nodes_context_windows.WanContextWindowsManualNode,
    "ContextWindowsManual": nodes_context_windows.ContextWindowsManualNode,
}


def sides(kind: str) -> tuple[Any, Any]:
    return tuple(bench.conditioning(seed, bench.values_of(kind), 512) for seed in (1, 2))


def native_sampled(model: Any, kind: str, solver: str) -> torch.Tensor:
    video = bench.latent_of(kind)
    latent, mask = video["samples"], video.get("noise_mask")
    noise = comfy.sample.prepare_noise(latent, SEED)
    return comfy.sample.sample(
        model, noise, STEPS, CFG, solver, "simple", *sides(kind), latent, seed=SEED, noise_mask=mask
    )


def ours_sampled(video: Any, kind: str, solver: str) -> torch.Tensor:
    settings = bench.module("engine.sampling.settings").SamplerSettings(SEED, STEPS, CFG, SHIFT, solver, "simple")
    made, _ = bench.module("nodes.sockets.sampling").sampled(video, sides(kind), bench.latent_of(kind), settings)
    return made["samples"]


def with_windows(video: Any, name: str, widgets: dict[str, Any]) -> Any:
    native = bench.module("nodes.sockets.native_model").NativeModel(video, SHIFT)
    node = getattr(bench.module("nodes.headless.core_nodes.wan"), name)
    return node.execute(native, **widgets).args[0].model


def rows() -> Iterator[tuple[str, str, float]]:
    for kind in ("t2v", "i2v", "vace"):
        path = bench.model_file(kind)
        video, beside = bench.ours(path), comfy.sd.load_diffusion_model(str(path))
        bridged = bench.bridged(video)
        for solver in ("euler", "heun"):
            plain = native_sampled(beside, kind, solver)
            for case, (node, changes) in CASES.items():
                widgets = (WINDOWS if node.startswith("Wan") else LATENT_WINDOWS) | changes
                expected = native_sampled(NODES[node].execute(beside, **widgets).result[0], kind, solver)
                name = f"{case}, {kind}, {solver}"
                yield "effect", name, bench.error(expected, plain)
                made = ours_sampled(with_windows(video, node, widgets), kind, solver)
                yield "Wan Sampler", name, bench.error(made, expected)
                behind = native_sampled(NODES[node].execute(bridged, **widgets).result[0], kind, solver)
                yield "Wan To Native Model", name, bench.error(behind, expected)


print(json.dumps({"rows": list(rows())}))
