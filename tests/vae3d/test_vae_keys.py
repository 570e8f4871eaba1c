"""The autoencoder's parameters are those of the official checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.vae3d import WAN_2_1_VAE, CausalVAE, VAEConfig

# Made by instantiating WanVAE_ of Wan-Video/Wan2.1 (wan/modules/vae.py, commit 9737cba) with its default sizes.
OFFICIAL_SHAPES = json.loads((Path(__file__).parent / "wan_2_1_vae_keys.json").read_text())


def shapes(vae: CausalVAE) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in vae.state_dict().items()}


def test_keys_and_shapes_equal_the_official_checkpoint():
    with torch.device("meta"):
        vae = CausalVAE(WAN_2_1_VAE)
    assert len(OFFICIAL_SHAPES) == 194
    assert shapes(vae) == OFFICIAL_SHAPES
    assert sum(weight.numel() for weight in vae.parameters()) == 126_892_531


def test_narrow_decoder_leaves_the_encoder_official():
    with torch.device("meta"):
        vae = CausalVAE(VAEConfig(decoder_base_channels=24))
    found = shapes(vae)
    assert found["decoder.conv1.weight"] == [96, 16, 3, 3, 3]
    assert found["encoder.conv1.weight"] == OFFICIAL_SHAPES["encoder.conv1.weight"]
    assert found.keys() == OFFICIAL_SHAPES.keys()


def test_config_knows_its_strides_and_widths():
    assert WAN_2_1_VAE.spatial_stride == 8
    assert WAN_2_1_VAE.encoder_widths == (96, 192, 384, 384)
    assert WAN_2_1_VAE.decoder_widths == (384, 384, 192, 96)


def test_layers_come_from_the_given_operations():
    class Operations:
        class Conv2d(torch.nn.Conv2d):
            pass

        class Conv3d(torch.nn.Conv3d):
            pass

    with torch.device("meta"):
        vae = CausalVAE(VAEConfig(base_channels=8, residual_blocks=1), operations=Operations)
    convolutions = [m for m in vae.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Conv3d))]
    assert convolutions
    assert all(isinstance(m, (Operations.Conv2d, Operations.Conv3d)) for m in convolutions)


def test_config_refuses_a_wrong_number_of_resamplings():
    with pytest.raises(InvalidInputError, match="4 channel_multipliers has 3 resamplings, got 2"):
        VAEConfig(temporal_downsample=(True, True))
