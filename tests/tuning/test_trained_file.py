"""The file that a training writes: off it changes no bit, on it does the same here and in diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from wan_director.dit.adapters import AppliedAdapter, ParameterShapes, adapted
from wan_director.dit.inputs import DitInputs
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import DIT
from wan_director.model_loading.lora import read_lora

from ..dit.conftest import build_diffusers, official_name
from .taught import TRANSFORMER, taught_file, trigger_text


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> Path:
    return taught_file(tmp_path_factory.mktemp("taught") / "taught.safetensors")


@pytest.fixture(scope="module")
def model():
    return load(DIT, TRANSFORMER).module


def inputs() -> DitInputs:
    generator = torch.Generator().manual_seed(4)
    return DitInputs(torch.randn(1, 16, 2, 8, 8, generator=generator), torch.tensor([900.0]), trigger_text())


@torch.no_grad()
def test_strength_0_is_the_model_itself_to_the_bit(taught, model):
    adapter = read_lora(taught, ParameterShapes.of(model), model=None).adapter
    plain = model(inputs())
    for strength, is_same in ((0.0, True), (1.0, False)):
        with adapted(model, [AppliedAdapter(adapter, strength)]):
            assert torch.equal(model(inputs()), plain) is is_same
    assert torch.equal(model(inputs()), plain)


@torch.no_grad()
def test_the_file_has_the_same_effect_in_diffusers(taught, model):
    pytest.importorskip("peft")
    from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin

    theirs, asked = build_diffusers(model.config), inputs()
    own = model.state_dict()
    theirs.load_state_dict({name: own[official_name(name)].float() for name in theirs.state_dict()})
    plain, expected = model(asked), theirs(asked.latent, asked.timestep, asked.text).sample
    assert (plain - expected).abs().max() <= 1e-5 * expected.abs().max()
    state = WanLoraLoaderMixin.lora_state_dict(str(taught.parent), weight_name=taught.name)
    theirs.load_lora_adapter(state, prefix="transformer")
    expected = theirs(asked.latent, asked.timestep, asked.text).sample
    adapter = read_lora(taught, ParameterShapes.of(model), model=None).adapter
    with adapted(model, [AppliedAdapter(adapter)]):
        found = model(asked)
    assert (found - plain).abs().max() > 0.01 * plain.abs().max()
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()  # relative, float32: two orders of summation
