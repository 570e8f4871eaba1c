"""Wan To Native Model without ComfyUI: its MODEL goes into the faces of native samplers; what is none is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.engine.models import with_policies
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.sockets.models import WanModel
from wan_director.sampling.guidance import CFG

from ..conftest import HIGH, LOW, call, encode, load, save_experts

pytestmark = pytest.mark.usefixtures("inference")
SETTINGS = {"seed": 3, "steps": 3, "cfg": 3.0, "denoise": 1.0}


@pytest.fixture(autouse=True, scope="module")
def experts(models):
    save_experts(models)


def test_the_model_samples_headless_to_the_bit():
    video, (positive, negative) = load("t2v.safetensors"), encode("text.safetensors")
    latent = {"samples": torch.zeros(1, 16, 3, 6, 8)}
    native = CORE_NODES["ModelSamplingSD3"].execute(call("ToNativeModel", model=video), 5.0).result[0]
    made = CORE_NODES["KSampler"].execute(
        native, *list(SETTINGS.values())[:3], "euler", "simple", positive, negative, latent, 1.0
    )
    own = {"shift": 5.0, "solver": "euler", "schedule": "simple", **SETTINGS}
    sides = {"positive": positive, "negative": negative, "latent": latent}
    assert torch.equal(made.result[0]["samples"], call("Sampler", model=video, **sides, **own)["samples"])


def test_a_pair_of_experts_is_refused():
    pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=0)
    with pytest.raises(PairingError, match=r"pair of experts .* two KSampler \(Advanced\)"):
        call("ToNativeModel", model=pair)


def test_settings_of_steps_are_refused():
    video = load("t2v.safetensors")
    changed = with_policies(video, lambda policies: replace(policies, guidance=lambda scale: CFG(scale)))
    assert isinstance(changed, WanModel)
    with pytest.raises(InvalidInputError, match="only Wan Sampler follows"):
        call("ToNativeModel", model=changed)


def test_what_is_no_model_is_refused():
    with pytest.raises(InvalidInputError, match="a model of Load Wan Model"):
        call("ToNativeModel", model={"samples": torch.zeros(1)})
