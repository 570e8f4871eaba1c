"""HuMo from files: packed, cast to fp8 and plain, it computes as its plain weights do."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors.torch import save_file
from torch import Tensor
from wan_director.dit.branches.audio.humo import HumoBranch, HumoInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT

CONFIG = DiTConfig(
    dim=256, ffn_dim=512, heads=2, layers=2, text_dim=4096, in_channels=36, branches=(HumoBranch(8, token_width=96),)
)
INSIDE = "blocks.1.audio_cross_attn_wrapper.audio_cross_attn."
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

    steering = (HumoInput(random(1, 2, 8, 5, 8), random(1, 16, 1, 8, 10)),)
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
    """The matrices of blocks are packed, those of the attention to the sound among them."""
    stored, plain = {}, {}
    for key, weight in weights.items():
        if weight.ndim == 2 and key.startswith("blocks."):
            packed = gguf.quantize(weight.numpy(), Ggml.Q8_0)
            stored[key], plain[key] = (packed, "Q8_0"), torch.from_numpy(gguf.dequantize(packed, Ggml.Q8_0))
        elif weight.ndim > 2:
            stored[key], plain[key] = weight.numpy().astype(np.float16), weight.half().float()
        else:
            stored[key], plain[key] = weight.numpy(), weight
    loaded = load(DIT, write_gguf(stored, {"general.architecture": "wan"}), **FP32)
    assert loaded.spec.config == CONFIG and loaded.spec.weight_format.name == "GGUF"
    assert loaded.module.get_submodule(f"{INSIDE}k").is_stored
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
    assert cast.get_submodule(f"{INSIDE}q").is_stored
    for execution in (Execution(), LEAN):
        velocity = cast(inputs(), execution)
        assert (velocity - expected).norm() < 0.1 * velocity.norm()


@torch.no_grad()
def test_a_file_of_8_bit_numbers_alone_is_read(tmp_path: Path, weights) -> None:
    """As HuMo is published for ComfyUI."""
    small = {key: value.to(torch.float8_e4m3fn) if value.ndim > 1 else value for key, value in weights.items()}
    save_file(small, tmp_path / "model.safetensors")
    expected = answer({key: value.float() for key, value in small.items()})
    assert_close(load(DIT, tmp_path / "model.safetensors", **FP32).module(inputs()), expected, 1e-6)
