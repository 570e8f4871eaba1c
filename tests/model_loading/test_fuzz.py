"""Damaged and hostile files of every format: a sentence of ours or success, never anything else, and never code run.

The inputs are numbered and always the same; `python -m wan_director.benchmarks.fuzz` tries more of them for longer.
"""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from wan_director.benchmarks import fuzz, fuzz_mutations
from wan_director.common.errors import CheckpointError, WanDirectorError

INPUTS, SECONDS = 350, 1.5  # of each target, whichever is reached first
TARGETS = (
    "safetensors",
    "fp8 scaled",
    "comfy_quant",
    "descriptions",
    "lora",
    "pth",
    "old pth",
    "index",
    "gguf",
)


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, fuzz.Writer]]:
    """The folder that must stay without a canary, and what damages each kind of file."""
    place = tmp_path_factory.mktemp("fuzz")
    return place, fuzz.targets(place)


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_give_a_sentence_or_load(writers, target: str) -> None:
    place, found = writers
    folder = place / "files"
    folder.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fuzz.fuzz(target, found[target], folder, first=0, seconds=SECONDS, count=INPUTS)
    assert result.crashes == []
    assert result.outcomes["refused"] > 0


def test_a_crash_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    writer = fuzz.safetensors_writer(fuzz.weights())

    def fails(path: Path, target: str) -> str:
        raise KeyError(path.name)

    monkeypatch.setattr(fuzz, "open_all", fails)
    assert "KeyError" in fuzz.try_one(folder, "safetensors", writer, 0)[1]
    (tmp_path / "canary").touch()
    assert fuzz.try_one(folder, "safetensors", writer, 0)[1] == "ran code from the file"


def test_planted_calls_would_create_the_canary(tmp_path: Path) -> None:
    """The bombs are live: a careless unpickler runs some of them."""
    import io
    import pickle

    canary = tmp_path / "canary"
    data = pickle.dumps({"a": 1}, protocol=2)
    for seed in range(40):
        bomb = fuzz_mutations.damage_pickle(data, random.Random(seed), str(canary))
        try:
            pickle.Unpickler(io.BytesIO(bomb)).load()
        except Exception:  # noqa: BLE001, S112  (most are damaged too far to be read at all)
            continue
    assert canary.exists()


def test_the_sound_files_load(tmp_path: Path) -> None:
    """Otherwise the fuzzer would only ever see the first check."""
    path = tmp_path / "model.safetensors"
    save_file(fuzz.weights(), path, fuzz.METADATA)
    assert fuzz.open_all(path, "safetensors") == "loaded"


@pytest.mark.parametrize("shape", [(), (0,), (1,)])
def test_a_scaled_weight_that_is_no_matrix_gives_a_sentence(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Found by the fuzzer, in one input of 300."""
    path = tmp_path / "model.safetensors"
    tensors = fuzz.scaled(torch.float8_e4m3fn)
    save_file(
        tensors | {"blocks.0.self_attn.k.weight": torch.zeros(shape).to(torch.float8_e4m3fn)}, path, fuzz.METADATA
    )
    with pytest.raises(CheckpointError, match="self_attn.k"):
        fuzz.open_all(path, "fp8 scaled")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@given(description=_json | st.fixed_dictionaries({"format": _json, "convrot": _json, "convrot_groupsize": _json}))
@ONE_FOLDER
def test_any_description_of_a_quantised_layer_gives_a_sentence_or_loads(tmp_path: Path, description: object) -> None:
    path = tmp_path / "model.safetensors"
    save_file(fuzz.scaled(torch.int8, description), path, fuzz.METADATA)
    _open(path)


@given(text=st.text(max_size=40) | _json.map(json.dumps))
@ONE_FOLDER
def test_any_quantisation_metadata_gives_a_sentence_or_loads(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.safetensors"
    text = text.encode("utf-8", "replace").decode()
    save_file(fuzz.scaled(torch.float8_e4m3fn), path, fuzz.METADATA | {"_quantization_metadata": text})
    _open(path)


def _open(path: Path) -> None:
    try:
        fuzz.open_all(path, "safetensors")
    except WanDirectorError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/passwd",
        "a/../../x",
        "..",
        ".",
        "",
        "a\\..\\x",
        "C:x",
        "a\nb",
        "\ud800",
        "a" * 5000,
        7,
        None,
    ],
)
def test_the_index_of_a_model_cannot_name_files_elsewhere(tmp_path: Path, name: object) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(fuzz.weights(), tmp_path / "x.safetensors")
    index = folder / "a.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"patch_embedding.weight": name}}))
    with pytest.raises(CheckpointError, match="outside its folder|not the index of a split model"):
        fuzz.open_all(index, "index")
