"""Random checkpoints: official keys, exact sizes, readable by safetensors, same seed same file."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from wan_director.benchmarks import random_checkpoint
from wan_director.benchmarks.random_checkpoint import checkpoint_shapes, main, module_shapes, write_random_checkpoint
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS


@pytest.mark.parametrize(
    ("kind", "preset", "keys"),
    [
        ("dit", "t2v-1.3B", 825),
        ("dit", "t2v-14B", 1095),
        ("dit", "i2v-14B", 1303),
        ("dit", "flf2v-14B", 1304),
        ("vae", "", 194),
        ("text_encoder", "", 242),
        ("clip_vision", "", 392),
    ],
)
def test_official_key_counts(kind, preset, keys):
    assert len(checkpoint_shapes(kind, preset)) == keys


@pytest.mark.parametrize(
    ("kind", "preset", "parameters"),
    [("dit", "t2v-1.3B", 1_418_996_800), ("dit", "t2v-14B", 14_288_491_584)],
)
def test_official_parameter_counts(kind, preset, parameters):
    assert sum(torch.Size(shape).numel() for shape in checkpoint_shapes(kind, preset).values()) == parameters


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_a_small_model_loads_strictly_and_runs_finite(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(random_checkpoint, "PIECE_ELEMENTS", 1000)  # tensors of several pieces
    config = replace(PRESETS["t2v-1.3B"], dim=64, ffn_dim=96, heads=2, layers=2, text_dim=32, text_tokens=8)
    with torch.device("meta"):
        model = WanDiT(config)
    file = tmp_path / "model.safetensors"
    write_random_checkpoint(file, module_shapes(model), dtype=dtype, seed=3)
    weights = {key: tensor.float() for key, tensor in load_file(file).items()}
    model.load_state_dict(weights, strict=True, assign=True)
    with torch.no_grad():
        inputs = DitInputs(torch.randn(1, 16, 2, 4, 4), torch.tensor([500.0]), torch.randn(1, 8, 32))
        assert torch.isfinite(model(inputs)).all()
    assert weights["blocks.0.norm3.weight"].mean() == pytest.approx(1.0, abs=0.1)
    assert weights["blocks.1.ffn.0.weight"].std() == pytest.approx(1 / 8, rel=0.1)


def test_same_seed_same_file(tmp_path):
    shapes = {"a.weight": (33, 5), "b.bias": (7,)}
    contents = []
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        write_random_checkpoint(tmp_path / name, shapes, seed=seed)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_the_command_refuses_an_unknown_preset(tmp_path, caplog):
    file = tmp_path / "x.safetensors"
    assert main(["--kind", "dit", "--preset", "t2v-2B", str(file)]) == 2
    assert "There is no transformer preset 't2v-2B'. Choose one of: t2v-1.3B, t2v-14B" in caplog.text
    assert not file.exists()


def test_the_command_writes_the_vae(tmp_path):
    file = tmp_path / "vae.safetensors"
    assert main(["--kind", "vae", "--dtype", "bf16", str(file)]) == 0
    assert 2 * 126_880_000 < file.stat().st_size < 2 * 126_900_000 + 50_000
