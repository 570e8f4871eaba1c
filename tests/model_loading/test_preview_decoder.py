"""Files of preview decoders: told by their tensors, loaded from every form of file, refused elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.__main__ import main
from wan_director.common.errors import CheckpointError
from wan_director.common.families import FAMILIES, WAN_2_1, WAN_2_2_5B
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import PREVIEW_DECODER, VAE
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.publishing.known_files import known_file, named_files
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.vae3d.tiny import TinyDecoder, TinyDecoderConfig

CONFIGS = {
    "wan2.1": TinyDecoderConfig(16, widths=(32, 16, 8, 8)),
    "wan2.2-5b": TinyDecoderConfig(48, widths=(32, 16, 8, 8), patch=2),
}


def tensors_of(config: TinyDecoderConfig) -> dict[str, Tensor]:
    """Those of a published file: an encoder is in it, too."""
    torch.manual_seed(0)
    encoder = {"encoder.0.weight": torch.zeros(8, 3, 3, 3), "encoder.4.conv.0.bias": torch.zeros(8)}
    return {**encoder, **TinyDecoder(config).requires_grad_(False).state_dict()}


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("name", ["any.safetensors", "any.pth"])
def test_it_is_told_by_its_tensors(tmp_path: Path, caplog, family: str, name: str) -> None:
    tensors = tensors_of(CONFIGS[family])
    half = {key: value.half() for key, value in tensors.items()}
    save_file(half, tmp_path / name) if name.endswith(".safetensors") else torch.save(half, tmp_path / name)
    loaded = load(PREVIEW_DECODER, tmp_path / name, precision="fp32", device="cpu")
    assert (loaded.spec.config, loaded.spec.family) == (CONFIGS[family], FAMILIES[family])
    assert loaded.spec.title == f"the preview decoder of {FAMILIES[family].title}"
    for key, value in loaded.module.state_dict().items():
        assert torch.equal(value, half[key].float()), key
    assert "left out" not in caplog.text


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({**tensors_of(CONFIGS["wan2.1"]), "trap": Trap()}, tmp_path / "taew2_1.pth")
    with pytest.raises(CheckpointError, match="taew2_1.pth"):
        load(PREVIEW_DECODER, tmp_path / "taew2_1.pth")
    assert not (tmp_path / "sprung").exists()


def test_as_a_vae_it_is_refused(tmp_path: Path) -> None:
    save_file(tensors_of(CONFIGS["wan2.1"]), tmp_path / "taew2_1.safetensors")
    with pytest.raises(CheckpointError) as refused:
        load(VAE, tmp_path / "taew2_1.safetensors")
    assert str(refused.value) == (
        "taew2_1.safetensors is a preview decoder (the preview decoder of Wan 2.1), not a VAE: put it into "
        "models/vae_approx, where it is found without being chosen. Here choose a file such as wan_2.1_vae.safetensors."
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"latent_channels": 32, "patch": 2},
            "with 32 latent channels and pictures 16 times smaller where Wan 2.1",
        ),
        ({"latent_channels": 16, "patch": 2}, "with 16 latent channels and pictures 16 times smaller"),
    ],
)
def test_that_of_another_model_is_refused(tmp_path: Path, change: dict[str, int], says: str) -> None:
    config = TinyDecoderConfig(**{"latent_channels": 16, "widths": (32, 16, 8, 8), **change})
    save_file(tensors_of(config), tmp_path / "taehv1_5.safetensors")
    with pytest.raises(CheckpointError, match=says):
        inspect_checkpoint(open_checkpoint(tmp_path / "taehv1_5.safetensors"))


@pytest.mark.parametrize(("key", "shape"), [("decoder.22.bias", (5,)), ("decoder.13.conv.weight", (17, 16, 1, 1))])
def test_a_file_of_another_structure_is_refused(tmp_path: Path, key: str, shape: tuple[int, ...]) -> None:
    save_file({**tensors_of(CONFIGS["wan2.1"]), key: torch.zeros(shape)}, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match="has the names of a preview decoder but not its structure"):
        inspect_checkpoint(open_checkpoint(tmp_path / "odd.safetensors"))


def test_inspect_says_what_it_is(tmp_path: Path, capsys) -> None:
    save_file(tensors_of(CONFIGS["wan2.2-5b"]), tmp_path / "any.safetensors")
    assert main(["inspect", str(tmp_path / "any.safetensors")]) == 0
    text = capsys.readouterr().out
    assert "the preview decoder of Wan 2.2 TI2V-5B (preview decoder)" in text and "models/vae_approx" in text


@pytest.mark.parametrize("family", [WAN_2_1, WAN_2_2_5B], ids=lambda family: family.name)
def test_the_published_ones_can_be_downloaded(family) -> None:
    for start in family.preview_files:
        file = known_file(f"{start}.safetensors")
        assert file is not None and file.folder == "models/vae_approx"
        assert named_files(start) == [file]
    assert known_file(PREVIEW_DECODER.example) is not None
