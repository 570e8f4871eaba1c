"""Wan-Dancer from files: packed, cast to fp8, plain, and as ComfyUI names its layers, it computes as its weights do."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors.torch import save_file
from torch import Tensor
from wan_director.dit.branches.audio.dance import DanceBranch, DanceInput
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT

CONFIG = DiTConfig(
    dim=256, ffn_dim=512, heads=2, layers=2, text_dim=4096, in_channels=36,
    branches=(ClipBranch(64), DanceBranch(1, 32, 16, 1, 64, reference_channels=16)),
)  # fmt: skip
INSIDE = "music_injector.injector.0."
FP32 = {"precision": "fp32", "device": "cpu"}
LEAN = Execution(may_overwrite=True, lean=Lean(2, run=30))


@pytest.fixture(scope="module")
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

    steering = (DanceInput(random(1, 9, 35), 7.5, 2, 0, 2, 1.0, random(1, 257, 64)),)
    return DitInputs(random(1, 16, 2, 8, 10), torch.tensor([500.0]), random(1, 512, 4096), steering=steering)


def answer(weights: dict[str, Tensor]) -> Tensor:
    model = WanDiT(CONFIG)
    model.load_state_dict(weights)
    with torch.no_grad():
        return model.eval()(inputs())


def assert_close(velocity: Tensor, expected: Tensor, limit: float) -> None:
    assert expected.abs().max() > 0.1
    assert (velocity - expected).abs().max() <= limit * expected.abs().max()


@torch.no_grad()
def test_a_packed_file_computes_as_its_plain_weights(write_gguf, weights) -> None:
    """The matrices of blocks are packed, those of what hears music among them."""
    stored, plain = {}, {}
    for key, weight in weights.items():
        if weight.ndim == 2 and key.startswith(("blocks.", INSIDE)):
            packed = gguf.quantize(weight.numpy(), Ggml.Q8_0)
            stored[key], plain[key] = (packed, "Q8_0"), torch.from_numpy(gguf.dequantize(packed, Ggml.Q8_0))
        elif weight.ndim > 2:
            stored[key], plain[key] = weight.numpy().astype(np.float16), weight.half().float()
        else:
            stored[key], plain[key] = weight.numpy(), weight
    loaded = load(DIT, write_gguf(stored, {"general.architecture": "wan"}), **FP32)
    assert loaded.spec.config == CONFIG and loaded.spec.weight_format.name == "GGUF"
    assert loaded.module.get_submodule(f"{INSIDE}v").is_stored
    expected = answer(plain)
    assert_close(loaded.module(inputs()), expected, 1e-6)
    assert_close(loaded.module(inputs(), LEAN), expected, 1e-5)


@torch.no_grad()
def test_a_file_cast_to_fp8_is_near(tmp_path: Path, weights) -> None:
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    expected = answer(weights)
    assert_close(load(DIT, path, **FP32).module(inputs()), expected, 1e-6)
    cast = load(DIT, path, precision="fp8_scaled", device="cpu").module
    assert cast.get_submodule(f"{INSIDE}o").is_stored
    for execution in (Execution(), LEAN):
        velocity = cast(inputs(), execution)
        assert (velocity - expected).norm() < 0.1 * velocity.norm()


@torch.no_grad()
def test_queries_keys_and_values_of_the_music_may_lie_apart(tmp_path: Path, weights) -> None:
    """As ComfyUI saves them."""
    apart = {key: value for key, value in weights.items() if ".in_proj_" not in key}
    for leaf in ("weight", "bias"):
        parts = weights[f"music_encoder.0.self_attn.in_proj_{leaf}"].chunk(3)
        apart |= {f"music_encoder.0.self_attn.{name}_proj.{leaf}": part.clone() for name, part in zip("qkv", parts)}
    save_file(apart, tmp_path / "model.safetensors")
    loaded = load(DIT, tmp_path / "model.safetensors", **FP32)
    assert loaded.spec.config == CONFIG
    assert_close(loaded.module(inputs()), answer(weights), 1e-6)
