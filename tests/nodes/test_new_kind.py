"""A new part of a video model is its network and one record: then files of it are told, refused, found and loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wan_director.__main__ import main
from wan_director.common.errors import CheckpointError, MissingFileError
from wan_director.common.families import Family
from wan_director.engine.local import LocalRuntime
from wan_director.engine.models import place
from wan_director.engine.recipe import ModelRecipe
from wan_director.model_loading.build import load
from wan_director.model_loading.key_maps.layouts import Layout
from wan_director.model_loading.key_maps.renaming import same_names
from wan_director.model_loading.kinds import MODEL_KINDS, VAE
from wan_director.model_loading.publishing.known_files import FileKind
from wan_director.model_loading.recognition.tensors import Tensors
from wan_director.model_loading.spec import ModelKind, no_tokenizer
from wan_director.nodes.files.model_files import check_model, find_model
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host


@dataclass(frozen=True, slots=True)
class PreviewConfig:
    """Sizes of the network below."""

    latent_channels: int
    width: int


class PreviewDecoder(nn.Module):
    """Pictures [N, 3] of latent pixels [N, C]."""

    def __init__(self, config: PreviewConfig, operations: Any = nn) -> None:
        super().__init__()
        self.enter = operations.Linear(config.latent_channels, config.width)
        self.leave = operations.Linear(config.width, 3)

    def forward(self, latent: Tensor) -> Tensor:
        return self.leave(self.enter(latent))


def read_preview(tensors: Tensors, metadata: Mapping[str, str]) -> PreviewConfig:
    return PreviewConfig(tensors.size("enter.weight", 1), tensors.size("enter.weight", 0))


def preview_title(config: PreviewConfig, family: Family) -> str:
    return f"a preview decoder of {family.title}"


PREVIEW: ModelKind[PreviewConfig, PreviewDecoder, None] = ModelKind(
    files=FileKind("preview", "vae_approx"),
    title="preview decoder",
    published_title="a preview decoder",
    example="mine.safetensors",
    layouts=(Layout("official", ("", "preview."), ("enter.weight", "leave.weight"), same_names),),
    read_config=read_preview,
    build=PreviewDecoder,
    title_of=preview_title,
    widths=lambda config: (config.latent_channels,),
    family_widths=lambda family: (family.latent_channels,),
    width_words="{} latent channels",
    find_tokenizer=no_tokenizer,
)


@pytest.fixture
def decoder() -> PreviewDecoder:
    torch.manual_seed(0)
    return PreviewDecoder(PreviewConfig(48, 8))


@pytest.fixture
def preview(monkeypatch, tmp_path: Path, decoder: PreviewDecoder) -> Path:
    """The kind is known, and a file of it lies in its folder of the models folder."""
    monkeypatch.setitem(MODEL_KINDS, PREVIEW.name, PREVIEW)
    path = tmp_path / "vae_approx" / "mine.safetensors"
    path.parent.mkdir()
    save_file({f"preview.{key}": value for key, value in decoder.state_dict().items()}, path)
    use_host(HeadlessHost(models_in(tmp_path)))
    return path


def test_a_file_of_a_new_kind_loads(preview: Path, decoder: PreviewDecoder) -> None:
    loaded = load(PREVIEW, preview, device="cpu")
    assert (loaded.spec.config, loaded.spec.family.name, loaded.tokenizer) == (PreviewConfig(48, 8), "wan2.2-5b", None)
    latent = torch.randn(5, 48)
    assert torch.equal(loaded.module(latent), decoder(latent))


def test_the_engine_places_a_new_kind(preview: Path, decoder: PreviewDecoder) -> None:
    placed = place(ModelRecipe(preview, "preview"), LocalRuntime("cpu"))
    latent = torch.randn(5, 48)
    assert torch.equal(placed.residence.module(latent), decoder(latent))


def test_a_new_kind_is_inspected(preview: Path, capsys) -> None:
    assert main(["inspect", str(preview)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^model +a preview decoder of Wan 2.2 TI2V-5B \(preview decoder\)$", text, re.MULTILINE)
    assert re.search("^belongs in +models/vae_approx$", text, re.MULTILINE)


def test_a_new_kind_is_found_in_its_folder(preview: Path) -> None:
    assert find_model(PREVIEW.folder_name, "mine.safetensors") == preview
    check_model(PREVIEW, "mine.safetensors")
    with pytest.raises(MissingFileError, match="other.safetensors is not in .*vae_approx"):
        find_model(PREVIEW.folder_name, "other.safetensors")


def test_a_new_kind_is_refused_elsewhere(preview: Path) -> None:
    with pytest.raises(CheckpointError) as refused:
        load(VAE, preview)
    assert str(refused.value) == (
        "mine.safetensors is a preview decoder (a preview decoder of Wan 2.2 TI2V-5B), not a VAE: put it into "
        "models/vae_approx and choose it in the preview decoder loader. Here choose a file such as "
        "wan_2.1_vae.safetensors."
    )


def test_without_its_record_it_is_unknown(preview: Path, monkeypatch) -> None:
    monkeypatch.delitem(MODEL_KINDS, PREVIEW.name)
    with pytest.raises(CheckpointError, match="is no Wan model, and nothing else known here"):
        load(VAE, preview)
