"""The Wan 2.2 VAE behind the nodes: loaded, used and queried as ComfyUI's own nodes do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import wan_director
from safetensors.torch import save_file
from wan_director.common.errors import PairingError
from wan_director.common.families import WAN_2_2_5B
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.vae3d import CausalVAE, VAEConfig

from .conftest import call

NODES = wan_director.NODE_CLASS_MAPPINGS
FILE = "small_wan22.safetensors"


@pytest.fixture(scope="module")
def vae_file(tmp_path_factory) -> Path:
    config = VAEConfig(base_channels=8, latent_channels=48, residual_blocks=1, patch_size=2, level_shortcuts=True)
    generator = torch.Generator().manual_seed(4)
    weights = {
        name: 0.1 * torch.randn(value.shape, generator=generator) + float("gamma" in name)
        for name, value in CausalVAE(config).state_dict().items()
    }
    path = tmp_path_factory.mktemp("models") / "vae" / FILE
    path.parent.mkdir()
    save_file(weights, path)
    return path


@pytest.fixture
def vae(vae_file, models, tiny_host):
    tiny_host.folders = {"vae": [vae_file.parent, models / "vae"]}
    with torch.inference_mode():
        yield call("LoadVAE", vae_name=FILE, precision="auto")


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.rand(9, 64, 96, 3, generator=torch.Generator().manual_seed(9))


def test_the_loader_node_finds_what_it_is(vae):
    assert NODES["WanDirectorLoadVAE"].validate_inputs(FILE) is True
    assert vae.family is WAN_2_2_5B
    assert (vae.latent_channels, vae.latent_dim) == (48, 3)


def test_native_queries_tell_its_strides(vae):
    assert (vae.spacial_compression_encode(), vae.spacial_compression_decode()) == (16, 16)
    assert vae.temporal_compression_decode() == 4
    frames, height, width = vae.downscale_ratio
    assert (frames(121), height, width) == (31, 16, 16)
    frames, height, width = vae.upscale_ratio
    assert (frames(31), height, width) == (121, 16, 16)


def test_nodes_give_what_the_model_gives(vae, vae_file, clip):
    model = load(kinds.VAE, vae_file, device="cpu").module
    latent = call("Encode", vae=vae, images=clip)
    expected = model.encode(clip.movedim(-1, 0)[None] * 2 - 1)
    assert expected.shape == (1, 48, 3, 4, 6)
    assert torch.equal(latent["samples"], expected)
    pictures = call("Decode", vae=vae, latent=latent)
    assert pictures.shape == clip.shape
    decoded = ((model.decode(expected) + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(pictures, decoded[0].movedim(0, -1), rtol=0, atol=1e-6)


def test_native_nodes_may_give_any_size(vae, clip):
    """As ComfyUI's VAE, it crops to multiples of its strides."""
    uneven = torch.nn.functional.pad(clip, (0, 0, 3, 4, 2, 1))
    assert uneven.shape == (9, 67, 103, 3)
    assert vae.encode(uneven).shape == (1, 48, 3, 4, 6)
    assert vae.encode(clip[:7]).shape == (1, 48, 2, 4, 6)
    latent = vae.encode(clip[None])
    assert torch.equal(vae.encode_tiled(clip, tile_x=8, tile_y=8, overlap=2), latent)
    assert vae.decode(latent).shape == (1, 9, 64, 96, 3)


def test_the_other_vaes_latents_are_refused(vae, clip):
    other = call("LoadVAE", vae_name="wan21_vae.safetensors", precision="auto")
    with pytest.raises(PairingError, match=f"made for wan21_vae.safetensors .* is {FILE} .* Use wan_2.1_vae"):
        call("Decode", vae=vae, latent=call("Encode", vae=other, images=clip))
    with pytest.raises(PairingError, match=f"made for {FILE} .* is wan21_vae.safetensors .* Use wan2.2_vae"):
        call("Decode", vae=other, latent=call("Encode", vae=vae, images=clip))
