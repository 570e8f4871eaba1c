"""A LoRA on every kind of model file gives what a float32 model with the LoRA merged in gives, at few tokens too."""

from __future__ import annotations

import json

import gguf
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.lora import read_lora

torch.set_num_threads(1)

CONFIG = DiTConfig(dim=256, ffn_dim=512, heads=4, layers=2, text_dim=256, text_tokens=16)
METADATA = {"wan_director.family": "tiny", "wan_director.heads": "4"}
STRENGTH, RANK = 0.8, 8
LIMIT = 1e-5  # relative, float32: the project's target


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in WanDiT(CONFIG).state_dict().items()}
    return {name: torch.randn(shape, generator=generator) / 16 for name, shape in shapes.items()}


def is_block_matrix(name: str, value: Tensor) -> bool:
    return value.ndim == 2 and name.startswith("blocks.")


def fp8_scaled(name: str, value: Tensor) -> dict[str, Tensor]:
    scale = value.abs().max() / 448
    stem = name.removesuffix(".weight")
    return {name: (value / scale).to(torch.float8_e4m3fn), f"{stem}.scale_weight": scale}


def fp8_per_channel(name: str, value: Tensor) -> dict[str, Tensor]:
    scale = value.abs().amax(dim=1, keepdim=True) / 448
    stem = name.removesuffix(".weight")
    return {name: (value / scale).to(torch.float8_e4m3fn), f"{stem}.weight_scale": scale}


def int8(name: str, value: Tensor) -> dict[str, Tensor]:
    scale = value.abs().amax(dim=1, keepdim=True) / 127
    stem = name.removesuffix(".weight")
    note = json.dumps({"format": "int8_tensorwise"}).encode()
    return {
        name: (value / scale).round().to(torch.int8),
        f"{stem}.weight_scale": scale,
        f"{stem}.comfy_quant": torch.tensor(list(note), dtype=torch.uint8),
    }


SAFETENSORS = {
    "plain fp32": lambda name, value: {name: value},
    "fp8 e4m3fn": lambda name, value: {name: value.to(torch.float8_e4m3fn)},
    "fp8 e5m2": lambda name, value: {name: value.to(torch.float8_e5m2)},
    "fp8 scaled": fp8_scaled,
    "fp8 scaled per channel": fp8_per_channel,
    "int8": int8,
}
GGUF = {"GGUF Q8_0": "Q8_0", "GGUF Q5_1": "Q5_1", "GGUF Q4_0": "Q4_0"}


@pytest.fixture
def model_file(tmp_path, write_gguf):
    """model_file(form): the same random transformer, stored in a form."""

    def write(form: str):
        if form in GGUF:
            kind = GGUF[form]
            arrays = {
                name: (gguf.quantize(value.numpy(), Ggml[kind]), kind)
                if is_block_matrix(name, value)
                else value.numpy()
                for name, value in weights().items()
            }
            # The format has no tensors of five dimensions: the patches' is stored as a matrix with its true shape.
            patch = arrays["patch_embedding.weight"]
            arrays["patch_embedding.weight"] = patch.reshape(len(patch), -1)
            shapes = {"comfy.gguf.orig_shape.patch_embedding.weight": list(patch.shape)}
            return write_gguf(arrays, {**METADATA, **shapes})
        tensors = {}
        for name, value in weights().items():
            tensors |= SAFETENSORS[form](name, value) if is_block_matrix(name, value) else {name: value}
        save_file(tensors, tmp_path / "model.safetensors", METADATA)
        return tmp_path / "model.safetensors"

    return write


@pytest.fixture
def lora_file(tmp_path):
    """LoRA on every matrix of the blocks, DoRA on some, and differences of biases and norms."""
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, value in weights().items():
        stem = "diffusion_model." + name.removesuffix(".weight")
        if is_block_matrix(name, value):
            tensors[f"{stem}.lora_down.weight"] = torch.randn(RANK, value.shape[1], generator=generator) / 16
            tensors[f"{stem}.lora_up.weight"] = torch.randn(len(value), RANK, generator=generator) / 16
        if name.endswith("self_attn.k.weight"):
            tensors[f"{stem}.dora_scale"] = torch.rand(len(value), 1, generator=generator) + 0.5
            tensors[f"{stem}.diff_b"] = torch.randn(len(value), generator=generator) / 16
        if name.endswith("norm3.weight"):
            tensors[f"{stem}.diff"] = torch.randn(len(value), generator=generator) / 16
    save_file(tensors, tmp_path / "lora.safetensors")
    return tmp_path / "lora.safetensors"


def merged(module: nn.Module, tensors: dict[str, Tensor]) -> WanDiT:
    """A plain float32 model of a loaded one's numbers, with the LoRA's definitions summed in, in float64."""
    plain = dict(module.named_parameters())
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            stored = getattr(layer, "dense_weight", None)
            plain[f"{path}.weight"] = stored() if stored is not None else layer.weight
    result = {name: value.double() for name, value in plain.items()}
    for name, weight in list(result.items()):
        stem = "diffusion_model." + name.removesuffix(".weight")
        if f"{stem}.lora_up.weight" in tensors:
            changed = weight + tensors[f"{stem}.lora_up.weight"].double() @ tensors[f"{stem}.lora_down.weight"].double()
            if f"{stem}.dora_scale" in tensors:
                changed *= tensors[f"{stem}.dora_scale"].double() / changed.norm(dim=1, keepdim=True)
            result[name] = weight + STRENGTH * (changed - weight)
        if f"{stem}.diff" in tensors:
            result[name] = weight + STRENGTH * tensors[f"{stem}.diff"].double()
        if f"{stem}.diff_b" in tensors:
            bias = name.removesuffix("weight") + "bias"
            result[bias] = result[bias] + STRENGTH * tensors[f"{stem}.diff_b"].double()
    reference = WanDiT(CONFIG).requires_grad_(False)
    reference.load_state_dict({name: value.float() for name, value in result.items()})
    return reference.eval()


def inputs(*shape: int) -> DitInputs:
    generator = torch.Generator().manual_seed(7)
    latent, text = torch.randn(1, 16, *shape, generator=generator), torch.randn(1, 16, 256, generator=generator)
    return DitInputs(latent, torch.tensor([500.0]), text)


@pytest.mark.parametrize("form", [*SAFETENSORS, *GGUF, "cast to scaled fp8 on load"])
def test_a_lora_on_a_whole_model(model_file, lora_file, form):
    """At one token a rival multiplies the LoRA by the fp8 scale, about a thousandth, and loses it."""
    is_cast = form.startswith("cast")
    path = model_file("plain fp32" if is_cast else form)
    loaded = load(kinds.DIT, path, precision="fp8_scaled" if is_cast else "fp32", device="cpu")
    shapes = ParameterShapes.of(loaded.module)
    assert bool(shapes.quantised) == (form != "plain fp32")
    adapter = read_lora(lora_file, shapes, loaded.spec).adapter
    reference = merged(loaded.module, load_file(lora_file))
    for shape in ((1, 2, 2), (2, 8, 8)):  # 1 and 32 tokens, 16 of text
        with torch.inference_mode():
            plain, expected = loaded.module(inputs(*shape)), reference(inputs(*shape))
            with adapted(loaded.module, [AppliedAdapter(adapter, STRENGTH)]):
                found = loaded.module(inputs(*shape))
        if loaded.dtype != torch.float32:
            assert (found - expected).norm() / expected.norm() < 0.05  # rounding of 16-bit activations
        else:
            assert (found - expected).norm() / expected.norm() < LIMIT
        assert (plain - expected).norm() / expected.norm() > 0.1
