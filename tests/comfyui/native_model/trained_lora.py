"""A LoRA that `wan-director train` made of the bundled model, on ComfyUI's own model of the same weights.

The bundled model has heads and texts of its own widths, which ComfyUI reads off no file, so its model is built here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bench

import comfy.model_management  # isort: skip  (its folder is named in bench)
import comfy.model_patcher  # isort: skip
import comfy.sample  # isort: skip
import comfy.supported_models  # isort: skip
import folder_paths  # isort: skip
import nodes  # isort: skip
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from safetensors.torch import load_file

LORA = "taught.safetensors"
MODEL = Path(bench.PACK) / "models/diffusion_models/wan_director_tiny_demo_t2v.safetensors"


def native() -> Any:
    """A native MODEL of the bundled weights."""
    weights = {name: value.float() for name, value in load_file(MODEL).items()}
    sizes = bench.ours(MODEL).spec.config
    config = comfy.supported_models.WAN21_T2V({
        "image_model": "wan2.1", "model_type": "t2v", "dim": sizes.dim, "num_heads": sizes.heads, "in_dim": 16,
        "out_dim": 16, "ffn_dim": sizes.ffn_dim, "num_layers": sizes.layers, "text_dim": sizes.text_dim,
        "freq_dim": sizes.freq_dim,
    })  # fmt: skip
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model(weights, "")
    model.diffusion_model.load_state_dict({name: weights[name] for name in model.diffusion_model.state_dict()})
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model.eval(), load_device=device, offload_device=device)


def with_native_lora(model: Any, strength: float) -> Any:
    """By LoraLoaderModelOnly."""
    return nodes.LoraLoaderModelOnly().load_lora_model_only(model, LORA, strength)[0]


def with_own_lora(model: Any, strength: float) -> Any:
    """By Wan LoRA."""
    node = bench.module("nodes.lora").WanDirectorLora
    return node.execute(model, LORA, strength, "all", 0.0, 1.0, False).result[0]


def sampled(model: Any, text: torch.Tensor) -> torch.Tensor:
    """Four steps of KSampler."""
    model = ModelSamplingSD3().patch(model, 5.0)[0]
    latent = torch.zeros(1, 16, 2, 8, 8)
    noise = comfy.sample.prepare_noise(latent, 5)
    sides = [[text, {}]], [[torch.zeros_like(text), {}]]
    return comfy.sample.sample(model, noise, 4, 3.0, "euler", "simple", *sides, latent, seed=5)


def main() -> None:
    folder_paths.add_model_folder_path("loras", bench.FOLDER)
    text = load_file(Path(bench.FOLDER) / "text.safetensors")["text"]
    theirs = native()
    plain = sampled(theirs, text)
    taught = sampled(with_native_lora(theirs, 1.0), text)
    made = {
        "base": sampled(bench.bridged(bench.ours(MODEL)), text),
        "LoRA": sampled(bench.bridged(with_own_lora(bench.ours(MODEL), 1.0)), text),
        "strength 0": sampled(bench.bridged(with_own_lora(bench.ours(MODEL), 0.0)), text),
    }
    print(json.dumps({
        "effect": bench.error(taught, plain),
        "base": bench.error(made["base"], plain),
        "LoRA": bench.error(made["LoRA"], taught),
        "strength 0 is the base": bool(torch.equal(made["strength 0"], made["base"])),
    }))  # fmt: skip


main()
