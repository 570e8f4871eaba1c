"""Models of the Fun family from files: packed, cast to fp8 and plain, they compute as their plain weights do."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Ggml
from safetensors.torch import save_file
from torch import Tensor
from wan_director.dit.branches.camera import CameraBranch, CameraInput
from wan_director.dit.branches.reference import ReferenceBranch, ReferenceInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT

SIZES = {"dim": 256, "ffn_dim": 512, "heads": 2, "layers": 2, "text_dim": 4096}
CONFIGS = {
    "control": DiTConfig(**SIZES, in_channels=52, branches=(ReferenceBranch(16),)),
    "camera": DiTConfig(**SIZES, in_channels=36, branches=(CameraBranch(),)),
}
FP32 = {"precision": "fp32", "device": "cpu"}
OWN_LAYERS = {"control": "ref_conv.weight", "camera": "control_adapter.residual_blocks.0.conv1.weight"}


def weights_of(config: DiTConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in WanDiT(config).state_dict().items()}
    return {
        name: torch.randn(shape, generator=generator) / 12 + float("norm" in name and "weight" in name)
        for name, shape in shapes.items()
    }


def inputs_of(config: DiTConfig) -> DitInputs:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    given = {
        ReferenceBranch: ReferenceInput(random(1, 16, 1, 4, 6)),
        CameraBranch: CameraInput(random(1, 24, 2, 32, 48)),
    }
    steering = tuple(given[type(branch)] for branch in config.branches)
    channels = random(1, config.image_channels, 2, 4, 6)
    return DitInputs(random(1, 16, 2, 4, 6), torch.tensor([500.0]), random(1, 512, 4096), channels, steering)


def answer(config: DiTConfig, weights: dict[str, Tensor]) -> Tensor:
    model = WanDiT(config)
    model.load_state_dict(weights)
    with torch.no_grad():
        return model.eval()(inputs_of(config))


def assert_close(velocity: Tensor, expected: Tensor, limit: float) -> None:
    assert expected.abs().max() > 0.1
    assert (velocity - expected).abs().max() <= limit * expected.abs().max()


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_packed_file_computes_as_its_plain_weights(write_gguf, name: str) -> None:
    """Convolutions stay plain in such files, in 16 bits; matrices are packed."""
    config, stored, plain = CONFIGS[name], {}, {}
    for key, weight in weights_of(config).items():
        if weight.ndim == 2 and key.startswith("blocks."):
            packed = gguf.quantize(weight.numpy(), Ggml.Q8_0)
            stored[key], plain[key] = (packed, "Q8_0"), torch.from_numpy(gguf.dequantize(packed, Ggml.Q8_0))
        elif weight.ndim == 4:
            stored[key], plain[key] = weight.numpy().astype(np.float16), weight.half().float()
        else:
            stored[key], plain[key] = weight.numpy(), weight
    loaded = load(DIT, write_gguf(stored, {"general.architecture": "wan"}), **FP32)
    assert loaded.spec.config == config and loaded.spec.weight_format.name == "GGUF"
    assert_close(loaded.module(inputs_of(config)), answer(config, plain), 1e-6)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_cast_file_keeps_the_layers_of_its_branch_plain(tmp_path: Path, name: str) -> None:
    config, weights = CONFIGS[name], weights_of(CONFIGS[name])
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    assert_close(load(DIT, path, **FP32).module(inputs_of(config)), answer(config, weights), 1e-6)
    cast = load(DIT, path, precision="fp8_scaled", device="cpu").module
    assert cast.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
    assert cast.get_parameter(OWN_LAYERS[name]).dtype in (torch.bfloat16, torch.float32)
    velocity = cast(inputs_of(config))
    assert (velocity - answer(config, weights)).norm() < 0.1 * velocity.norm()
