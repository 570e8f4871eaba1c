"""SCAIL-2 from files: packed, cast to fp8, in int8 and plain, it computes as its plain weights do; LoRAs for others."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors.torch import save_file
from torch import Tensor
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.branches.scail import ScailBranch
from wan_director.dit.conditioning.characters.scail import REPLACEMENT, KeptFrames, ScailCharacter, ScailPose
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT
from wan_director.model_loading.lora.load import read_lora

CONFIG = DiTConfig(
    dim=256, ffn_dim=512, heads=2, layers=2, text_dim=4096, in_channels=20,
    branches=(ClipBranch(1280), ScailBranch(mask_channels=28)),
)  # fmt: skip
FP32 = {"precision": "fp32", "device": "cpu"}
OWN_LAYERS = ("patch_embedding_pose.weight", "patch_embedding_mask.weight")


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in WanDiT(CONFIG).state_dict().items()}
    return {
        name: torch.randn(shape, generator=generator) / 12 + float("norm" in name and "weight" in name)
        for name, shape in shapes.items()
    }


def inputs() -> DitInputs:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    items = (
        ScailCharacter(random(1, 16, 1, 4, 8), random(1, 28, 1, 4, 8), REPLACEMENT),
        KeptFrames(random(1, 4, 2, 4, 8)),
    )
    prompt = Conditioning(
        random(1, 512, 4096), items, in_context=(ScailPose(random(1, 16, 2, 2, 4), random(1, 28, 2, 2, 4)),)
    )
    made = prompt.inputs(random(1, 16, 2, 4, 8), torch.tensor([500.0]))
    return DitInputs(
        made.latent, made.timestep, made.text, made.image_channels, (ClipInput(random(1, 257, 1280)), *made.steering),
        in_context=made.in_context, before=made.before,
    )  # fmt: skip


def answer(own: dict[str, Tensor]) -> Tensor:
    model = WanDiT(CONFIG)
    model.load_state_dict(own)
    with torch.no_grad():
        return model.eval()(inputs())


def assert_close(velocity: Tensor, expected: Tensor, limit: float = 1e-6) -> None:
    assert expected.abs().max() > 0.1
    assert (velocity - expected).abs().max() <= limit * expected.abs().max()


@pytest.mark.parametrize("flattened", [False, True])
@torch.no_grad()
def test_a_packed_file_computes_as_its_plain_weights(write_gguf, flattened: bool) -> None:
    """Patch embeddings stay plain in such files, in 16 bits; ggml's own tools join their dimensions."""
    stored, plain = {}, {}
    for key, weight in weights().items():
        if weight.ndim == 2 and key.startswith("blocks."):
            packed = gguf.quantize(weight.numpy(), Ggml.Q8_0)
            stored[key], plain[key] = (packed, "Q8_0"), torch.from_numpy(gguf.dequantize(packed, Ggml.Q8_0))
        elif weight.ndim == 5:
            half = weight.numpy().astype(np.float16)
            stored[key] = half.reshape(half.shape[0] * half.shape[1], 1, 2, 2) if flattened else half
            plain[key] = weight.half().float()
        else:
            stored[key], plain[key] = weight.numpy(), weight
    loaded = load(DIT, write_gguf(stored, {"general.architecture": "wan"}), **FP32)
    assert loaded.spec.config == CONFIG and loaded.spec.weight_format.name == "GGUF"
    assert_close(loaded.module(inputs()), answer(plain))


@torch.no_grad()
def test_a_cast_file_keeps_the_layers_of_its_branch_plain(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(weights(), path)
    assert_close(load(DIT, path, **FP32).module(inputs()), answer(weights()))
    cast = load(DIT, path, precision="fp8_scaled", device="cpu").module
    assert cast.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
    assert all(cast.get_parameter(name).dtype in (torch.bfloat16, torch.float32) for name in OWN_LAYERS)
    velocity = cast(inputs())
    assert (velocity - answer(weights())).norm() < 0.1 * velocity.norm()


@torch.no_grad()
def test_an_int8_file_of_comfyui_computes_as_its_plain_weights(tmp_path: Path) -> None:
    """As the published int8_convrot file, in the kind without rotation."""
    stored, plain = {}, {}
    for key, weight in weights().items():
        stored[key] = plain[key] = weight
        if weight.ndim == 2 and key.startswith("blocks.") and key.endswith(".weight"):
            layer = key.removesuffix(".weight")
            scale = weight.abs().amax(dim=1, keepdim=True) / 127
            codes = (weight / scale).round().to(torch.int8)
            stored[key], stored[f"{layer}.weight_scale"] = codes, scale
            plain[key] = codes * scale
            stored[f"{layer}.comfy_quant"] = torch.tensor(
                list(json.dumps({"format": "int8_tensorwise"}).encode()), dtype=torch.uint8
            )
    path = tmp_path / "model.safetensors"
    save_file(stored, path)
    loaded = load(DIT, path, **FP32)
    assert loaded.spec.config == CONFIG
    assert_close(loaded.module(inputs()), answer(plain))


@torch.no_grad()
def test_a_lora_for_image_to_video_leaves_out_its_channels(tmp_path: Path) -> None:
    """As the LoRA for few steps, which has a difference of the patch embedding for 36 channels."""
    path, lora = tmp_path / "model.safetensors", tmp_path / "lora.safetensors"
    save_file(weights(), path)
    generator = torch.Generator().manual_seed(9)
    tensors = {
        "diffusion_model.patch_embedding.diff": torch.randn(256, 36, 1, 2, 2, generator=generator),
        "diffusion_model.patch_embedding_pose.diff": torch.randn(256, 16, 1, 2, 2, generator=generator),
        "diffusion_model.blocks.0.cross_attn.k_img.lora_down.weight": torch.randn(4, 256, generator=generator),
        "diffusion_model.blocks.0.cross_attn.k_img.lora_up.weight": 0.1 * torch.randn(256, 4, generator=generator),
    }
    save_file(tensors, lora)
    loaded = load(DIT, path, **FP32)
    read = read_lora(lora, ParameterShapes.of(loaded.module), loaded.spec)
    assert "another number of channels" in read.report.line()
    with adapted(loaded.module, [AppliedAdapter(read.adapter, 1.0)]):
        velocity = loaded.module(inputs())
    changed = weights()
    down, up = (tensors[f"diffusion_model.blocks.0.cross_attn.k_img.lora_{side}.weight"] for side in ("down", "up"))
    changed["blocks.0.cross_attn.k_img.weight"] += up @ down
    assert_close(velocity, answer(changed), 1e-5)
