"""Conditioning of a new branch travels in a native CONDITIONING as it is, and reaches the model without more code."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.common.errors import PairingError
from wan_director.dit.branches import known
from wan_director.nodes.conditioning.items import with_item

from ..dit.test_dit_branches import Camera, CameraWay
from .conftest import TINY, call, dit, encode, load

pytestmark = pytest.mark.usefixtures("inference")
CHANNELS, FRAMES, HEIGHT, WIDTH = 6, 3, 6, 8


@pytest.fixture
def camera_model(models, monkeypatch) -> str:
    """The text-to-video model with a third branch, whose kind is known."""
    monkeypatch.setattr(known, "BRANCHES", (Camera, *known.BRANCHES))
    folder = models / "diffusion_models"
    weights = load_file(folder / "t2v.safetensors")
    torch.manual_seed(5)
    added = dit(branches=(Camera(CHANNELS),)).camera_embedding.state_dict()
    added["bias"].zero_()
    weights |= {f"camera_embedding.{name}": value for name, value in added.items()}
    save_file(weights, folder / "camera.safetensors", TINY)
    return "camera.safetensors"


def sampled(model, positive, negative) -> torch.Tensor:
    inputs = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
    latent = {"samples": torch.zeros(1, 16, FRAMES, HEIGHT, WIDTH)}
    return call("Sampler", model=model, positive=positive, negative=negative, latent=latent, **inputs)["samples"]


def way(scale: float = 1.0, frames: int = FRAMES) -> CameraWay:
    rays = torch.randn(1, CHANNELS, frames, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4))
    return CameraWay(scale * rays)


def test_an_item_steers_the_model_and_without_one_the_branch_is_as_if_absent(camera_model):
    positive, negative = encode("text.safetensors")
    model, plain = load(camera_model), sampled(load("t2v.safetensors"), positive, negative)
    assert torch.equal(sampled(model, positive, negative), plain)
    steered = sampled(model, with_item(positive, way()), with_item(negative, way()))
    assert steered.isfinite().all() and (steered - plain).norm() > 1e-3 * plain.norm()


def test_items_add_up_and_those_given_stay_as_they_are(camera_model):
    positive, negative = encode("text.safetensors")
    one = with_item(positive, way())
    two = with_item(one, way(0.5))
    assert len(one[0][1]["wan_director_items"]) == 1 and "wan_director_items" not in positive[0][1]
    both, summed = (sampled(load(camera_model), side, negative) for side in (two, with_item(positive, way(1.5))))
    torch.testing.assert_close(both, summed, rtol=0, atol=1e-5)


def test_a_model_without_the_branch_and_an_item_of_another_length_are_refused(camera_model):
    positive, negative = encode("text.safetensors")
    with pytest.raises(PairingError, match="t2v.safetensors .* cannot follow a camera"):
        sampled(load("t2v.safetensors"), with_item(positive, way()), negative)
    with pytest.raises(PairingError, match="does not fit the latent"):
        sampled(load(camera_model), with_item(positive, way(frames=FRAMES + 1)), negative)
