"""Whatever stands in front of a model's names, and whatever else lies in its file, the model is found and read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.describe import describe
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

from .conftest import random_weights
from .test_rival_faults import _hf_name, _spiece

DIT = DiTConfig(dim=128, ffn_dim=64, heads=1, layers=1)
VAE = VAEConfig(base_channels=8, residual_blocks=1)
UMT5 = UMT5Config(vocab=40, dim=4096, attention_dim=32, ffn_dim=64, heads=2, layers=2)

State = dict[str, Tensor]


def weights(make, seed: int = 0) -> State:
    with torch.device("meta"):
        module = make()
    return random_weights(module, seed)


def behind(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "net.",
        "module.",
        "pipe.dit.",
        "pipe.dit2.",
        "generator.model.",
        "video_model.",
        "any.thing.0.",
        "model._orig_mod.",
    ],
)
def test_any_prefix_is_found_by_the_names_behind_it(tmp_path: Path, prefix: str) -> None:
    state = weights(lambda: WanDiT(DIT))
    save_file(behind(prefix, state) | {"other.scale": torch.ones(3)}, tmp_path / "x.safetensors")
    loaded = load(kinds.DIT, tmp_path / "x.safetensors", precision="fp32", device="cpu")
    assert loaded.spec.prefix == prefix.replace("_orig_mod.", "")
    assert all(torch.equal(value, state[key]) for key, value in loaded.module.state_dict().items())


@pytest.mark.parametrize("inner", ["", "model."])
def test_of_a_training_checkpoint_the_averaged_generator_is_read_and_said(tmp_path: Path, inner: str, caplog) -> None:
    state, averaged = weights(lambda: WanDiT(DIT)), weights(lambda: WanDiT(DIT), seed=1)
    content = {"generator": behind(inner, state), "generator_ema": behind(inner, averaged), "critic": {}, "step": 600}
    torch.save(content, tmp_path / "model.pt")
    with caplog.at_level(logging.WARNING, "wan_director"):
        loaded = load(kinds.DIT, tmp_path / "model.pt", precision="fp32", device="cpu")
    assert all(torch.equal(value, averaged[key]) for key, value in loaded.module.state_dict().items())
    note = f"It holds 2 models; the one behind 'generator_ema.{inner}' is read, not 'generator.{inner}'."
    assert loaded.spec.notes == (note,)
    assert note in caplog.text


def test_a_lone_generator_needs_no_word(tmp_path: Path) -> None:
    state = weights(lambda: WanDiT(DIT))
    torch.save({"generator": behind("model.", state), "step": 600}, tmp_path / "model.pt")
    spec = inspect_checkpoint(open_checkpoint(tmp_path / "model.pt"))
    assert (spec.prefix, spec.notes) == ("generator.model.", ())


@pytest.fixture
def all_in_one(tmp_path: Path) -> tuple[Path, dict[str, State]]:
    """A file as ComfyUI saves a checkpoint: fp16 transformer and VAE, and a text encoder in scaled fp8."""
    parts = {
        "model.diffusion_model.": weights(lambda: WanDiT(DIT)),
        "vae.": weights(lambda: CausalVAE(VAE)),
        "text": weights(lambda: UMT5Encoder(UMT5)),
    }
    state = behind(
        "model.diffusion_model.", {key: value.half() for key, value in parts["model.diffusion_model."].items()}
    )
    state |= behind("vae.", {key: value.half() for key, value in parts["vae."].items()})
    stem = "text_encoders.umt5xxl.transformer."
    for key, value in parts["text"].items():
        name = stem + _hf_name(key)
        state[name] = value
        if ".attn." in key:
            state[name] = (value * 64).to(torch.float8_e4m3fn)
            state[name.removesuffix("weight") + "scale_weight"] = torch.tensor(1 / 64)
            parts["text"][key] = state[name].float() / 64
    state |= {stem + "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn), "text_encoders.spiece_model": _spiece()}
    path = tmp_path / "all_in_one.safetensors"
    save_file(state, path)
    return path, parts


def test_each_loader_takes_its_part_of_an_all_in_one_file(all_in_one) -> None:
    path, parts = all_in_one
    dit = load(kinds.DIT, path, precision="fp32", device="cpu").module.state_dict()
    vae = load(kinds.VAE, path, precision="fp32", device="cpu").module.state_dict()
    text = load(kinds.TEXT_ENCODER, path, precision="fp32", device="cpu").module
    assert all(torch.equal(value, parts["model.diffusion_model."][key].half().float()) for key, value in dit.items())
    assert all(torch.equal(value, parts["vae."][key].half().float()) for key, value in vae.items())
    query = text.get_submodule("blocks.0.attn.q")
    assert torch.equal(query.dense_weight(), parts["text"]["blocks.0.attn.q.weight"])


def test_the_text_encoder_beside_a_model_says_nothing_of_its_numbers(all_in_one) -> None:
    checkpoint = open_checkpoint(all_in_one[0])
    spec = inspect_checkpoint(checkpoint)
    assert (spec.kind.name, spec.weight_format.name, spec.file_dtype) == ("dit", "plain", "F16")
    text = describe(spec, checkpoint)
    assert "fp16 (plain)" in text
    assert "scaled fp8" not in text
    assert inspect_checkpoint(checkpoint, kinds.TEXT_ENCODER).weight_format.name == "scaled fp8"
