"""Going on from a latent with noise left in it."""

from __future__ import annotations

import pytest
import torch

from .conftest import call, load, load_vae

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture
def sides(inference) -> dict:
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")
    return {side: encoder.encode_from_tokens_scheduled(encoder.tokenize(side)) for side in ("positive", "negative")}


def sampled(sides, latent, sigmas, **more) -> dict:
    settings = {
        "seed": 1, "steps": 4, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0,
    }  # fmt: skip
    return call(
        "Sampler",
        model=load("t2v.safetensors"),
        latent=latent,
        sigmas=torch.tensor(sigmas),
        **sides,
        **settings,
        **more,
    )


def blank() -> dict:
    return call("EmptyLatent", vae=load_vae("vae.safetensors"), width=64, height=48, frames=5, batch_size=1)


def test_two_parts_of_a_table_make_the_whole(sides):
    whole = sampled(sides, blank(), [1.0, 0.8, 0.5, 0.0])["samples"]
    first = sampled(sides, blank(), [1.0, 0.8])
    second = sampled(sides, first, [0.8, 0.5, 0.0], add_noise=False)["samples"]
    noised = sampled(sides, first, [0.8, 0.5, 0.0])["samples"]
    assert torch.allclose(second, whole, atol=1e-5 * float(whole.abs().max())) and not torch.allclose(noised, whole)


def test_on_is_as_before(sides):
    one, other = (sampled(sides, blank(), [1.0, 0.5, 0.0], **more) for more in ({}, {"add_noise": True}))
    assert torch.equal(one["samples"], other["samples"])
