"""GGUF models in several files, and VAEs whose convolutions were flattened to ggml's four dimensions."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor
from wan_director.common.errors import CheckpointError, MissingFileError
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load, model_key
from wan_director.model_loading.opening import open_checkpoint
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

from .conftest import random_weights

DIT = DiTConfig(dim=64, ffn_dim=128, heads=2, layers=1, text_dim=32, freq_dim=32)
METADATA = {"wan_director.family": "tiny", "wan_director.heads": "2"}
VAE = VAEConfig(base_channels=8, residual_blocks=1)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    with torch.device("meta"):
        module = WanDiT(DIT)
    return random_weights(module)


@pytest.fixture
def parts(tmp_path: Path, weights: dict[str, Tensor]) -> list[Path]:
    """The model in three parts by the gguf package's own writer; matrices in Q8_0."""
    split = {"split_max_tensors": -(-len(weights) // 3)}
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "wan", **split)
    for key, value in METADATA.items():
        writer.add_string(key, value)
    kind = gguf.GGMLQuantizationType.Q8_0
    for key, value in weights.items():
        array = value.numpy()
        if array.ndim == 5:
            # ggml has four dimensions; ComfyUI's converter notes what they were, in the first part.
            writer.add_array(f"comfy.gguf.orig_shape.{key}", list(array.shape))
            array = array.reshape(array.shape[0], -1)
        is_matrix = array.ndim == 2 and key.startswith("blocks.") and key.endswith(".weight")
        writer.add_tensor(
            key, gguf.quants.quantize(array, kind) if is_matrix else array, raw_dtype=kind if is_matrix else None
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    paths = sorted(tmp_path.glob("*.gguf"))
    assert [path.name for path in paths] == [f"model-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    return paths


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_any_part_opens_the_whole_model(parts: list[Path], weights: dict[str, Tensor], chosen: int) -> None:
    loaded = load(kinds.DIT, parts[chosen], precision="fp32", device="cpu")
    assert loaded.spec.size_bytes == sum(path.stat().st_size for path in parts)
    found = loaded.module.state_dict()
    for key, value in weights.items():
        if value.ndim != 2 or not key.startswith("blocks."):
            assert torch.equal(found[key], value), key
    matrix = loaded.module.blocks[0].ffn[0].dense_weight()
    torch.testing.assert_close(matrix, weights["blocks.0.ffn.0.weight"], rtol=0, atol=4e-3)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_part_is_named(parts: list[Path], lost: int) -> None:
    parts[lost].unlink()
    says = rf"one of 3 parts of a model, 1 of them are missing \(first: {parts[lost].name}\)"
    with pytest.raises(MissingFileError, match=says):
        open_checkpoint(parts[lost - 1])


def test_a_renamed_part_is_not_taken_for_another(parts: list[Path]) -> None:
    parts[2].write_bytes(parts[1].read_bytes())
    with pytest.raises(CheckpointError, match="model-00003-of-00003.gguf is not part 3 of 3 by its header"):
        open_checkpoint(parts[0])


def test_a_damaged_part_is_named(parts: list[Path]) -> None:
    parts[1].write_bytes(parts[1].read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="model-00002-of-00003.gguf is incomplete"):
        open_checkpoint(parts[0])


def test_a_part_without_its_name_says_what_names_are_needed(parts: list[Path], tmp_path: Path) -> None:
    alone = parts[0].rename(tmp_path / "wan.gguf")
    with pytest.raises(CheckpointError, match=r"found by their names \(such as NAME-00001-of-00003.gguf\)"):
        open_checkpoint(alone)


def test_a_changed_part_gives_another_key(parts: list[Path]) -> None:
    before = model_key(parts[0])
    parts[2].write_bytes(parts[2].read_bytes() + b"\0")
    assert model_key(parts[0]) != before


def _joined(value: Tensor, form: str) -> Tensor:
    outputs, inputs, frames, height, width = value.shape
    shapes = {
        "first two": (outputs * inputs, frames, height, width),
        "second and third": (outputs, inputs * frames, height, width),
        "last two": (outputs, inputs, frames, height * width),
    }
    return value.reshape(shapes[form])


@pytest.mark.parametrize("form", ["first two", "second and third", "last two"])
@pytest.mark.parametrize("prefix", ["", "vae."])
def test_a_flattened_vae_is_read_exactly(write_gguf, form: str, prefix: str) -> None:
    with torch.device("meta"):
        module = CausalVAE(VAE)
    weights = random_weights(module)
    tensors = {key: _joined(value, form) if value.ndim == 5 else value for key, value in weights.items()}
    path = write_gguf({prefix + key: value.numpy().astype(np.float32) for key, value in tensors.items()})
    loaded = load(kinds.VAE, path, precision="fp32", device="cpu")
    assert loaded.spec.config == VAE
    assert all(torch.equal(value, weights[key]) for key, value in loaded.module.state_dict().items())
