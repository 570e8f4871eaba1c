"""A VAE that decodes pictures of twice the size: in the nodes that decode, and where it cannot be."""

from __future__ import annotations

import pytest
import torch
import wan_director
from wan_director.common.errors import PairingError
from wan_director.vae3d import CausalVAE, VAEConfig

from .conftest import TINY, call, load, load_vae, picture, save_model
from .films.conftest import film

NODES = wan_director.NODE_CLASS_MAPPINGS
CONFIG = VAEConfig(base_channels=8, residual_blocks=1, enlargement=2)
FILE = {"fps": 8.0, "filename_prefix": "clips/test", "format": "png frames", "quality": 80}

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture
def vae(models, tiny_host):
    save_model(models / "vae" / "twice.safetensors", CausalVAE(CONFIG), TINY)
    return load_vae("twice.safetensors")


def latent(frames: int = 2) -> dict:
    return {"samples": torch.randn(1, 16, frames, 6, 8, generator=torch.Generator().manual_seed(4))}


def test_it_encodes_as_usual_and_decodes_twice_as_large(vae):
    made = call("Encode", vae=vae, images=picture(5, height=48, width=64))
    assert made["samples"].shape == (1, 16, 2, 6, 8)
    assert call("Decode", vae=vae, latent=made).shape == (5, 96, 128, 3)
    assert (vae.spacial_compression_encode(), vae.spacial_compression_decode()) == (8, 16)
    assert vae.upscale_ratio[1:] == (16, 16) and vae.downscale_ratio[1:] == (8, 8)


def test_it_decodes_into_a_file(vae, tiny_host):
    from PIL import Image

    NODES["WanDirectorDecodeToVideo"].execute(vae=vae, latent=latent(), **FILE)
    files = sorted(tiny_host.output.rglob("*.png"))
    assert len(files) == 5 and {Image.open(file).size for file in files} == {(128, 96)}


def test_a_film_which_goes_on_from_its_pictures_refuses_it(vae):
    words = r"twice\.safetensors decodes pictures of 2 times the size that it encodes, and each clip goes on from .*"
    with pytest.raises(PairingError, match=words):
        film(load("i2v.safetensors"), vae=vae)
