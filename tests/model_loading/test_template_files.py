"""Every model file that ComfyUI's Wan templates name is known: folder, place in its repository, and size.

They are read from the package comfyui-workflow-templates-json where it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from wan_director.common.errors import CheckpointError
from wan_director.model_loading.kinds import DIT, MODEL_KINDS
from wan_director.model_loading.outline import outline
from wan_director.model_loading.publishing.known_files import KNOWN_FILES, LORAS, WAITING_FILES, known_file
from wan_director.model_loading.publishing.missing import missing_file_sentence

PACKAGE = importlib.util.find_spec("comfyui_workflow_templates_json")
NO_PACKAGE = pytest.mark.skipif(PACKAGE is None, reason="comfyui-workflow-templates-json is not installed")
WAN = re.compile(r"wan|humo|causal_forcing|chrono_edit|dancer|bernini|scail|infinitetalk", re.IGNORECASE)
ADDRESS = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/main/([^?]+)")
WRITTEN_SIZE = re.compile(r"\[([\w.\-]+\.safetensors)\]\(https?[^)]*\) \(([\d.]+) ([MG])B\)")


def _declared(value: object) -> Iterator[dict]:
    if isinstance(value, dict):
        properties = value.get("properties")
        yield from (properties.get("models") or []) if isinstance(properties, dict) else []
        for each in value.values():
            yield from _declared(each)
    elif isinstance(value, list):
        for each in value:
            yield from _declared(each)


@cache
def wan_templates() -> dict[str, tuple[list[dict], str]]:
    """Template -> the files it declares and its text, of those that load Wan's weights or its VAE."""
    if PACKAGE is None:
        return {}
    found = {}
    for path in sorted((Path(PACKAGE.origin).parent / "templates").glob("*.json")):
        if not path.name.startswith("index"):
            text = path.read_text(encoding="utf-8")
            models = list(_declared(json.loads(text)))
            if any(WAN.search(model["name"]) for model in models):
                found[path.stem] = models, text
    return found


@NO_PACKAGE
def test_all_files_of_the_wan_templates_are_known() -> None:
    assert len(wan_templates()) == 40
    named = {
        (model["name"], model["directory"], model["url"]) for models, _ in wan_templates().values() for model in models
    }
    places: dict[str, set[tuple[str, str]]] = {}
    for name, directory, url in named:
        file = known_file(name)
        assert file is not None, name
        assert file.kind.folder_name == directory
        address = ADDRESS.match(url)
        assert address is not None
        places.setdefault(name, set()).add((address[1], unquote(address[2])))
    assert len(places) == 64
    for name, found in places.items():
        file = known_file(name)
        assert (file.repo, file.path_in_repo) in found, name


@NO_PACKAGE
def test_sizes_are_those_that_the_templates_write() -> None:
    """To the hundredth of a GiB, or tenth of a MiB, that they are rounded to, and half a percent for weights alone."""
    written = {
        (name, float(number) * (2**30 if unit == "G" else 2**20))
        for _, text in wan_templates().values()
        for name, number, unit in WRITTEN_SIZE.findall(text)
        if known_file(name) is not None  # some also load models of other families
    }
    assert len(written) > 45
    for name, size in written:
        assert known_file(name).size_bytes == pytest.approx(size, rel=5e-3), name


def test_no_file_is_both_run_and_waiting() -> None:
    names = [file.name.lower() for file in (*KNOWN_FILES, *WAITING_FILES)]
    assert len(set(names)) == len(names)
    assert all(file.is_run for file in KNOWN_FILES) and not any(file.is_run for file in WAITING_FILES)
    folders = {kind.files.folder_name for kind in MODEL_KINDS.values()} | {LORAS.folder_name}
    assert {file.kind.folder_name for file in WAITING_FILES} - folders == {
        "checkpoints", "frame_interpolation",
    }  # fmt: skip


@pytest.mark.parametrize("file", WAITING_FILES, ids=lambda file: file.name)
def test_a_file_that_is_not_run_is_called_what_it_is_before_it_is_downloaded(file, tmp_path) -> None:
    sentence = missing_file_sentence(file.name, file.kind.folder_name, [tmp_path])
    assert f"this version does not run it yet: it is {file.what}" in sentence and "download" not in sentence
    if file.kind == DIT.files:
        with pytest.raises(
            CheckpointError, match=f"{file.name} is {re.escape(file.what)}, which this version does not"
        ):
            outline(tmp_path / file.name, DIT)
