"""Wan S2V from files: packed, cast to fp8 and plain, it computes as its plain weights do."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors.torch import save_file
from torch import Tensor
from wan_director.dit.branches.audio.past import PastBranch, PastInput
from wan_director.dit.branches.audio.pose import SpeechPoseBranch, SpeechPoseInput
from wan_director.dit.branches.audio.speech import SpeechBranch, SpeechInput
from wan_director.dit.branches.audio.still import StillBranch, StillInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT

CONFIG = DiTConfig(
    dim=256, ffn_dim=512, heads=2, layers=2, text_dim=4096,
    branches=(SpeechPoseBranch(), SpeechBranch(1, 32), StillBranch(), PastBranch()),
)  # fmt: skip
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
    } | {"casual_audio_encoder.weights": 0.01 + 0.02 * torch.rand(1, 25, 1, 1, generator=generator)}


def inputs() -> DitInputs:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    steering = (
        SpeechPoseInput(random(1, 16, 2, 8, 10)), SpeechInput(random(1, 25, 32, 8), 0, 2),
        StillInput(random(1, 16, 1, 8, 10), 2), PastInput(random(1, 16, 19, 8, 10)),
    )  # fmt: skip
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
    """The matrices of blocks and of the attention to speech are packed, convolutions are in 16 bits."""
    stored, plain = {}, {}
    for key, weight in weights.items():
        if weight.ndim == 2 and key.startswith(("blocks.", "audio_injector.")):
            packed = gguf.quantize(weight.numpy(), Ggml.Q8_0)
            stored[key], plain[key] = (packed, "Q8_0"), torch.from_numpy(gguf.dequantize(packed, Ggml.Q8_0))
        elif weight.ndim > 2:
            stored[key], plain[key] = weight.numpy().astype(np.float16), weight.half().float()
        else:
            stored[key], plain[key] = weight.numpy(), weight
    loaded = load(DIT, write_gguf(stored, {"general.architecture": "wan"}), **FP32)
    assert loaded.spec.config == CONFIG and loaded.spec.weight_format.name == "GGUF"
    assert loaded.module.get_submodule("audio_injector.injector.0.q").is_stored
    expected = answer(plain)
    assert_close(loaded.module(inputs()), expected, 1e-6)
    assert_close(loaded.module(inputs(), LEAN), expected, 1e-5)


@torch.no_grad()
def test_a_file_cast_to_fp8_is_near_and_keeps_convolutions_plain(tmp_path: Path, weights) -> None:
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    expected = answer(weights)
    assert_close(load(DIT, path, **FP32).module(inputs()), expected, 1e-6)
    cast = load(DIT, path, precision="fp8_scaled", device="cpu").module
    assert cast.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
    for name in ("audio_injector.injector.0.k", "audio_injector.injector_adain_layers.0.linear"):
        assert cast.get_submodule(name).is_stored
    for name in ("cond_encoder.weight", "frame_packer.proj.weight", "casual_audio_encoder.encoder.conv2.conv.weight"):
        assert cast.get_parameter(name).dtype in (torch.bfloat16, torch.float32)
    for execution in (Execution(), LEAN):
        velocity = cast(inputs(), execution)
        assert (velocity - expected).norm() < 0.1 * velocity.norm()


@torch.no_grad()
def test_a_file_of_8_bit_numbers_alone_is_read(tmp_path: Path, weights) -> None:
    """As plain casts to fp8 are published, the table and the convolutions of the branches included."""
    small = {key: value.to(torch.float8_e4m3fn) if value.ndim > 1 else value for key, value in weights.items()}
    save_file(small, tmp_path / "model.safetensors")
    expected = answer({key: value.float() for key, value in small.items()})
    assert_close(load(DIT, tmp_path / "model.safetensors", **FP32).module(inputs()), expected, 1e-6)
