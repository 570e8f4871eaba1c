"""Tensors that another program holds are read like a file, without a copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from wan_director.common.errors import CheckpointError
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load, load_checkpoint
from wan_director.model_loading.files.faults import naming
from wan_director.model_loading.files.memory_checkpoint import MemoryCheckpoint
from wan_director.model_loading.opening import open_checkpoint

CONFIG = DiTConfig(dim=96, ffn_dim=64, heads=4, layers=1, text_dim=4096)
HEADS = {"wan_director.heads": "4"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    weights = {key: torch.randn(value.shape, generator=generator) for key, value in WanDiT(CONFIG).state_dict().items()}
    path = tmp_path / "model.safetensors"
    save_file({key: value.bfloat16() for key, value in weights.items()}, path, HEADS)
    return path


def test_its_header_is_that_of_the_file(file):
    there, here = open_checkpoint(file), MemoryCheckpoint(file, load_file(file), HEADS)
    assert dict(there.tensors) == dict(here.tensors) and here.metadata == HEADS and here.notes == ()


@pytest.mark.parametrize("precision", ["auto", "fp32", "fp8_scaled"])
def test_a_model_of_it_is_that_of_the_file(file, precision):
    options = {"precision": precision, "device": "cpu"}
    there = load(kinds.DIT, file, **options)
    here = load_checkpoint(kinds.DIT, MemoryCheckpoint(file, load_file(file), HEADS), **options)
    theirs = there.module.state_dict()
    assert replace(there.spec, size_bytes=0) == replace(here.spec, size_bytes=0) and there.dtype == here.dtype
    assert all(torch.equal(value.float(), theirs[key].float()) for key, value in here.module.state_dict().items())


def test_a_model_of_it_shares_the_numbers_and_not_the_parameters(file):
    tensors = {key: nn.Parameter(value, requires_grad=False) for key, value in load_file(file).items()}
    made = load_checkpoint(kinds.DIT, MemoryCheckpoint(file, tensors, HEADS), device="cpu")
    for key, parameter in made.module.named_parameters():
        assert parameter.data_ptr() == tensors[key].data_ptr() and parameter is not tensors[key]


def test_exponents_are_read_as_bytes():
    exponents = torch.tensor([120, 127], dtype=torch.uint8)
    read = MemoryCheckpoint(Path("model"), {"a.weight_scale": exponents.view(torch.float8_e8m0fnu)})
    assert read.tensors["a.weight_scale"].dtype == "F8_E8M0"
    assert torch.equal(read.read("a.weight_scale"), exponents)


def test_numbers_of_a_strange_kind_are_refused():
    words = r"model: 'a' holds numbers of the kind torch.complex128, which no model"
    with pytest.raises(CheckpointError, match=words), naming(Path("model")):
        MemoryCheckpoint(Path("model"), {"a": torch.zeros(1, dtype=torch.complex128)})
