"""What our models tell ComfyUI's cache of node outputs when RAM runs short: what dropping them would free."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from wan_director.engine.local import LocalResidence, LocalRuntime
from wan_director.engine.models import LowNoiseExpert
from wan_director.engine.recipe import ModelRecipe
from wan_director.memory.policy import BlockSwap
from wan_director.memory.tensors import held_tensors, size_bytes
from wan_director.nodes.hosts.host import BUNDLED_MODELS
from wan_director.nodes.sockets.models import WanModel, clip_vision, text_encoder, video_autoencoder, video_model

DEMO = "wan_director_tiny_demo_"
mapped_files = pytest.mark.skipif(sys.platform == "win32", reason="files are read there, not mapped")


@pytest.fixture
def bf16_file(tmp_path: Path) -> Path:
    """The bundled transformer with all its numbers in bfloat16."""
    path = tmp_path / "bf16.safetensors"
    with safe_open(BUNDLED_MODELS / "diffusion_models" / f"{DEMO}t2v.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name).to(torch.bfloat16) for name in file.keys()}  # noqa: SIM118
        save_file(weights, path, file.metadata())
    return path


def own_bytes(model) -> int:
    return sum(tensor.nbytes for tensor in model._comfy_cache_tensors())


def all_bytes(model: WanModel) -> int:
    return size_bytes(held_tensors(model.residence.module))


@mapped_files
def test_a_model_of_windows_into_its_file_is_kept(bf16_file: Path):
    model = video_model(ModelRecipe(bf16_file, precision="auto", attention="sdpa"), LocalRuntime("cpu"))
    assert model.is_dynamic()
    assert own_bytes(model) < 0.1 * all_bytes(model)


def test_a_converted_model_tells_all_its_memory(bf16_file: Path):
    model = video_model(ModelRecipe(bf16_file, precision="fp32", attention="sdpa"), LocalRuntime("cpu"))
    assert not model.is_dynamic()
    assert own_bytes(model) == all_bytes(model)


@mapped_files
def test_a_pair_of_experts_is_kept_when_both_are_windows(bf16_file: Path):
    mapped = video_model(ModelRecipe(bf16_file, precision="auto", attention="sdpa"), LocalRuntime("cpu"))
    converted = video_model(ModelRecipe(bf16_file, precision="fp32", attention="sdpa"), LocalRuntime("cpu"))
    assert replace(mapped, low_noise=LowNoiseExpert(mapped, None, 0)).is_dynamic()
    mixed = replace(mapped, low_noise=LowNoiseExpert(converted, None, 0))
    assert not mixed.is_dynamic()
    assert own_bytes(mixed) == own_bytes(mapped) + own_bytes(converted)


@mapped_files
def test_memory_for_swapped_blocks_is_told(bf16_file: Path):
    model = video_model(ModelRecipe(bf16_file, precision="auto", attention="sdpa"), LocalRuntime("cpu"))
    before = own_bytes(model)
    block = model.residence.module.blocks[0]
    model.residence.slabs.pack(block, torch.device("cpu"))
    assert own_bytes(model) == before + model.residence.slabs.size_bytes > before


def test_copies_on_a_device_are_not_counted(bf16_file: Path):
    model = video_model(ModelRecipe(bf16_file, precision="fp32", attention="sdpa"), LocalRuntime("cpu"))
    module = model.residence.module
    waiting = [tensor.data_ptr() for tensor in LocalResidence(module, torch.device("cpu")).host_tensors()]
    residence = LocalResidence(module, torch.device("meta"))
    with residence.loaded(memory=BlockSwap(1)):
        assert any(value.is_meta for value in module.state_dict().values())
        assert [tensor.data_ptr() for tensor in residence.host_tensors()] == waiting
    assert [tensor.data_ptr() for tensor in residence.host_tensors()] == waiting


def test_every_model_object_answers():
    paths = {kind: BUNDLED_MODELS / kind / f"{DEMO}{kind}.safetensors" for kind in ("vae", "clip_vision")}
    runtime = LocalRuntime("cpu")
    text = BUNDLED_MODELS / "text_encoders" / f"{DEMO}text_encoder.safetensors"
    models = (
        video_autoencoder(ModelRecipe(paths["vae"], "vae", "fp32"), runtime),
        clip_vision(ModelRecipe(paths["clip_vision"], "clip_vision"), runtime),
        text_encoder(ModelRecipe(text, "text_encoder", "fp32", "cpu"), runtime),
    )
    for model in models:
        assert model.is_dynamic() is (own_bytes(model) <= 0.1 * all_bytes(model)), model
        assert all(tensor.device.type == "cpu" for tensor in model._comfy_cache_tensors())
