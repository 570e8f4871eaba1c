"""The Wan 2.2 VAE and the light VAE of Wan 2.1: recognised in every naming and loaded equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wan_director.common.errors import CheckpointError
from wan_director.common.families import WAN_2_1, WAN_2_2_5B
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.vae3d import LIGHT_WAN_2_1_VAE, WAN_2_2_VAE, CausalVAE, VAEConfig
from wan_director.vae3d.config import WAN_2_1_VAE

from .conftest import shapes_of

PREFIXES = ("", "model.", "vae.", "first_stage_model.")
SMALL = VAEConfig(base_channels=8, latent_channels=48, residual_blocks=1, patch_size=2, level_shortcuts=True)
OTHERS = {
    "more blocks, wider decoder": VAEConfig(
        base_channels=8, latent_channels=48, decoder_base_channels=16, patch_size=2, level_shortcuts=True
    ),
    "other strides and widths": VAEConfig(
        base_channels=8,
        latent_channels=48,
        residual_blocks=1,
        channel_multipliers=(1, 1, 4, 4),
        temporal_downsample=(True, True, False),
        patch_size=2,
        level_shortcuts=True,
    ),
    "pruned decoder": VAEConfig(
        base_channels=160, latent_channels=48, decoder_base_channels=64, patch_size=2, level_shortcuts=True
    ),
}


def _on_meta(config: VAEConfig) -> CausalVAE:
    with torch.device("meta"):
        return CausalVAE(config)


def _diffusers(config: VAEConfig) -> nn.Module:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=config.base_channels,
        decoder_base_dim=config.decoder_base_channels,
        z_dim=config.latent_channels,
        dim_mult=list(config.channel_multipliers),
        num_res_blocks=config.residual_blocks,
        temperal_downsample=list(config.temporal_downsample),
        is_residual=True,
        in_channels=config.patch_channels,
        out_channels=config.patch_channels,
        patch_size=config.patch_size,
        scale_factor_spatial=config.spatial_stride,
    )


def _entries(state: Mapping[str, Tensor], dtype: str = "BF16", prefix: str = "") -> dict[str, tuple]:
    return {prefix + key: (dtype, tuple(value.shape)) for key, value in state.items()}


def _inspect(path: Path):
    return inspect_checkpoint(open_checkpoint(path))


def _random(shapes: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        key: torch.randn(value.shape, generator=generator) / 8 + float("gamma" in key or "norm" in key)
        for key, value in shapes
    }


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_wan_2_2_vae_is_recognised(header_file, prefix: str, dtype: str) -> None:
    spec = _inspect(header_file(_entries(_on_meta(WAN_2_2_VAE).state_dict(), dtype, prefix), name="x.safetensors"))
    assert (spec.kind.name, spec.config, spec.family) == ("vae", WAN_2_2_VAE, WAN_2_2_5B)
    assert (spec.title, spec.naming, spec.prefix, spec.file_dtype) == ("the Wan 2.2 VAE", "official", prefix, dtype)
    assert (len(spec.sources), spec.parameters) == (196, 704_688_668)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_diffusers_wan_2_2_vae_is_recognised(header_file, prefix: str) -> None:
    with torch.device("meta"):
        theirs = _diffusers(WAN_2_2_VAE).state_dict()
    spec = _inspect(header_file(_entries(theirs, "F32", prefix)))
    assert (spec.kind.name, spec.config, spec.family, spec.naming) == ("vae", WAN_2_2_VAE, WAN_2_2_5B, "diffusers")
    assert spec.sources.keys() == _on_meta(WAN_2_2_VAE).state_dict().keys()
    assert spec.title == "the Wan 2.2 VAE"


@pytest.mark.parametrize("name", OTHERS)
def test_sizes_of_the_wan_2_2_vae_are_read_from_shapes(header_file, name: str) -> None:
    spec = _inspect(header_file(_entries(_on_meta(OTHERS[name]).state_dict())))
    assert (spec.config, spec.title) == (OTHERS[name], "the Wan 2.2 VAE of another size")
    with torch.device("meta"):
        theirs = _diffusers(OTHERS[name]).state_dict()
    assert _inspect(header_file(_entries(theirs))).config == OTHERS[name]


def test_the_light_vae_is_recognised(header_file) -> None:
    """194 tensors and 8,035,003 weights, as WanVAE_ of LightX2V has with pruning_rate 0.75."""
    state = _on_meta(LIGHT_WAN_2_1_VAE).state_dict()
    assert state["decoder.conv1.weight"].shape == (96, 16, 3, 3, 3)
    assert state["encoder.conv1.weight"].shape == (24, 3, 3, 3, 3)
    spec = _inspect(header_file(_entries(state)))
    assert (spec.config, spec.family, spec.title) == (LIGHT_WAN_2_1_VAE, WAN_2_1, "the light VAE of Wan 2.1")
    assert (len(spec.sources), spec.parameters) == (194, 8_035_003)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config", [SMALL, LIGHT_WAN_2_1_VAE], ids=["2.2", "light"])
def test_vaes_load_equal_and_compute(tmp_path: Path, config: VAEConfig, dtype: torch.dtype) -> None:
    weights = {key: value.to(dtype) for key, value in _random(_on_meta(config).state_dict().items()).items()}
    save_file({"model." + key: value for key, value in weights.items()}, tmp_path / "x.safetensors")
    loaded = load(kinds.VAE, tmp_path / "x.safetensors", device="cpu", precision="auto")
    state = loaded.module.state_dict()
    assert state.keys() == weights.keys()
    assert loaded.dtype == (torch.float32 if dtype == torch.float16 else dtype)  # fp16 is never used on a CPU
    assert all(torch.equal(state[key], weights[key].to(loaded.dtype)) for key in weights)
    stride = config.spatial_stride
    video = torch.rand(1, 3, 5, stride, 2 * stride, generator=torch.Generator().manual_seed(1)).to(loaded.dtype)
    latent = loaded.module.encode(video)
    assert latent.shape == (1, config.latent_channels, 2, 1, 2)
    assert loaded.module.decode(latent).shape == video.shape


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_diffusers_wan_2_2_vae_loads_and_computes_the_same(tmp_path: Path, blocks: int) -> None:
    config = VAEConfig(base_channels=8, latent_channels=48, residual_blocks=blocks, patch_size=2, level_shortcuts=True)
    theirs = _diffusers(config).eval()
    theirs.load_state_dict(_random(theirs.state_dict().items()))
    save_file(theirs.state_dict(), tmp_path / "x.safetensors")
    ours = load(kinds.VAE, tmp_path / "x.safetensors", device="cpu").module
    video = torch.randn(1, 3, 5, 16, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        latent = theirs.encode(video).latent_dist.mean
        torch.testing.assert_close(ours.encode(video), latent, atol=1e-5, rtol=1e-5)
        decoded = ours.decode(latent).clamp(-1, 1)  # theirs clamps
        torch.testing.assert_close(decoded, theirs.decode(latent).sample, atol=1e-5, rtol=1e-5)


def test_a_wan_2_2_vae_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    weights = _random(_on_meta(SMALL).state_dict().items())
    del weights["decoder.upsamples.1.upsamples.2.time_conv.bias"]
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="lacks 1 of the .* \\(first: decoder.upsamples.1.upsamples.2.time_conv"):
        load(kinds.VAE, tmp_path / "x.safetensors")


def test_names_of_2_2_with_another_structure_are_refused(header_file) -> None:
    entries = _entries(_on_meta(SMALL).state_dict())
    entries["encoder.conv1.weight"] = ("BF16", (8, 3 * 5, 3, 3, 3))  # no square of pixels has 5
    with pytest.raises(CheckpointError, match="has the names of the Wan VAE but not its structure"):
        _inspect(header_file(entries))


@pytest.mark.parametrize("fp8", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_a_vae_stored_in_fp8_becomes_plain(tmp_path: Path, fp8: torch.dtype) -> None:
    """Convolutions have no fp8 form: each weight is the number that its 8 bits mean, times its scale if it has one."""
    weights = _random(_on_meta(SMALL).state_dict().items())
    stored = {
        key: value.to(fp8 if value.ndim > 1 and "gamma" not in key else torch.bfloat16)
        for key, value in weights.items()
    }
    scaled = "encoder.conv1.weight"
    save_file({**stored, scaled.replace("weight", "scale_weight"): torch.tensor(0.5)}, tmp_path / "x.safetensors")
    loaded = load(kinds.VAE, tmp_path / "x.safetensors", device="cpu")
    state = loaded.module.state_dict()
    assert state.keys() == weights.keys()
    assert loaded.dtype == torch.bfloat16 and {value.dtype for value in state.values()} == {torch.bfloat16}
    expected = {key: value.float() * (0.5 if key == scaled else 1) for key, value in stored.items()}
    assert all(torch.equal(state[key].float(), expected[key]) for key in weights)


@pytest.mark.parametrize(
    ("key", "shape", "says"),
    [
        (
            "decoder.head.2.weight",
            (4, 96, 3, 3, 3),
            "3 picture channels in and 4 out, where 3 go in, and 3 come out or",
        ),
        (
            "decoder.head.2.weight",
            (9, 96, 3, 3, 3),
            "3 picture channels in and 9 out, where 3 go in, and 3 come out or",
        ),
        ("encoder.conv1.weight", (96, 4, 3, 3, 3), "4 picture channels in and 3 out"),
    ],
)
def test_a_vae_of_other_pictures_is_named_not_called_damaged(header_file, key: str, shape: tuple, says: str) -> None:
    with torch.device("meta"):
        entries = shapes_of(CausalVAE(WAN_2_1_VAE).state_dict())
    entries[key] = ("BF16", shape)
    entries[key.replace("weight", "bias")] = ("BF16", shape[:1])
    with pytest.raises(CheckpointError) as error:
        inspect_checkpoint(open_checkpoint(header_file(entries)))
    assert f"is a variant of the Wan 2.1 VAE with {says}" in str(error.value)
    assert "download it again" not in str(error.value)
