"""The same random weights in our autoencoder and in diffusers'."""

import re

import pytest
import torch
from wan_director.vae3d import CausalVAE, VAEConfig


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_vae():
    """make_vae(config, seed) -> our autoencoder with weights that keep signals near unit size."""

    def make(config: VAEConfig, seed: int = 0) -> CausalVAE:
        vae = CausalVAE(config).requires_grad_(False).eval()
        generator = torch.Generator().manual_seed(seed)
        for name, weight in vae.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "gamma" in name:
                weight.copy_(1 + 0.2 * noise)
            elif weight.ndim == 1:
                weight.copy_(0.1 * noise)
            else:
                weight.copy_(noise * 0.9 / weight[0].numel() ** 0.5)
        vae.decoder.head[2].weight.mul_(0.2)  # diffusers clamps its pictures to -1..1
        return vae

    return make


@pytest.fixture(scope="session")
def diffusers_twin():
    """diffusers_twin(vae) -> AutoencoderKLWan with the weights of ours."""

    def make(vae: CausalVAE):
        from diffusers import AutoencoderKLWan

        config = vae.config
        with torch.device("meta"):
            twin = AutoencoderKLWan(
                base_dim=config.base_channels,
                decoder_base_dim=config.decoder_base_channels,
                z_dim=config.latent_channels,
                dim_mult=list(config.channel_multipliers),
                num_res_blocks=config.residual_blocks,
                temperal_downsample=list(config.temporal_downsample),
                is_residual=config.level_shortcuts,
                in_channels=config.patch_channels,
                out_channels=config.decoded_channels,
                patch_size=config.patch_size if config.patch_size > 1 else None,
                scale_factor_spatial=config.spatial_stride,
            )
        names = {key: _diffusers_name(key, config) for key in vae.state_dict()}
        twin.load_state_dict({names[key]: value for key, value in vae.state_dict().items()}, assign=True)
        return twin.requires_grad_(False).eval()

    return make


def _diffusers_name(key: str, config: VAEConfig) -> str:
    residual_blocks = config.residual_blocks

    def up_block(match: re.Match) -> str:
        level, index = divmod(int(match[1]), residual_blocks + 2)
        return f"up_blocks.{level}." + (f"resnets.{index}" if index <= residual_blocks else "upsamplers.0")

    key = re.sub(r"^conv1", "quant_conv", key)
    key = re.sub(r"^conv2", "post_quant_conv", key)
    key = re.sub(r"^(encoder|decoder)\.conv1", r"\1.conv_in", key)
    if config.level_shortcuts:
        key = re.sub(
            r"(down|up)samples\.(\d+)\.\1samples\.(\d+)\.(?=residual|shortcut)", r"\1_blocks.\2.resnets.\3.", key
        )
        key = re.sub(r"(down|up)samples\.(\d+)\.\1samples\.\d+\.", r"\1_blocks.\2.\1sampler.", key)
    key = re.sub(r"upsamples\.(\d+)", up_block, key)
    for ours, theirs in (
        ("downsamples", "down_blocks"),
        ("middle.0", "mid_block.resnets.0"),
        ("middle.1", "mid_block.attentions.0"),
        ("middle.2", "mid_block.resnets.1"),
        ("head.0", "norm_out"),
        ("head.2", "conv_out"),
        ("residual.0.", "norm1."),
        ("residual.2.", "conv1."),
        ("residual.3.", "norm2."),
        ("residual.6.", "conv2."),
        ("shortcut", "conv_shortcut"),
    ):
        key = key.replace(ours, theirs)
    return key
