"""PyTorch pickles: plain weights load, anything else is refused and never run."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from wan_director.common.errors import CheckpointError
from wan_director.model_loading.opening import open_checkpoint

WEIGHTS = OrderedDict(a=torch.arange(6.0).view(2, 3), b=torch.ones(4, dtype=torch.bfloat16))


class _Call:
    """Calls `function` when it is unpickled carelessly."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def _bomb(canary: Path) -> _Call:
    return _Call(open, str(canary), "w")


def _refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
@pytest.mark.parametrize("ending", ["pth", "pt", "bin"])
def test_plain_weights_are_read_exactly(tmp_path: Path, old_format: bool, nest: str | None, ending: str) -> None:
    path = tmp_path / f"model.{ending}"
    content = WEIGHTS if nest is None else {nest: WEIGHTS, "step": 7}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    checkpoint = open_checkpoint(path)
    assert {key: info.shape for key, info in checkpoint.tensors.items()} == {"a": (2, 3), "b": (4,)}
    assert [info.dtype for info in checkpoint.tensors.values()] == ["F32", "BF16"]
    assert all(torch.equal(checkpoint.read(key), value) for key, value in WEIGHTS.items())


YOUNG = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "U16": torch.uint16, "U32": torch.uint32}


@pytest.mark.parametrize("name", YOUNG)
def test_young_number_formats_are_plain_weights_too(tmp_path: Path, name: str) -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3).to(YOUNG[name]), "b": torch.ones(3)}
    torch.save(weights, tmp_path / "model.pth")
    checkpoint = open_checkpoint(tmp_path / "model.pth")
    assert checkpoint.tensors["a"] == (name, (2, 3))
    assert torch.equal(checkpoint.read("a").view(torch.uint8), weights["a"].view(torch.uint8))


def test_exponents_of_mxfp8_are_read_as_bytes(tmp_path: Path) -> None:
    weights = {"a": torch.tensor([126, 127], dtype=torch.uint8).view(torch.float8_e8m0fnu)}
    torch.save(weights, tmp_path / "model.pth")
    assert open_checkpoint(tmp_path / "model.pth").read("a").tolist() == [126, 127]


@pytest.mark.parametrize("name", YOUNG)
def test_young_formats_in_the_old_form_are_not_called_code(tmp_path: Path, name: str) -> None:
    """torch writes such a file, and fails to read it."""
    path = tmp_path / "model.pth"
    torch.save({"a": torch.ones(2).to(YOUNG[name])}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(AttributeError, match="dtype"):
        torch.load(path, weights_only=True)
    message = _refusal(path)
    assert "in PyTorch's old form of files, which torch writes but cannot read" in message
    assert "code" not in message


def test_the_tables_of_a_training_checkpoint_keep_their_names(tmp_path: Path) -> None:
    path, other = tmp_path / "model.pt", {key: value + 1 for key, value in WEIGHTS.items()}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4}]}
    content = {"generator": {"model": WEIGHTS}, "generator_ema": other, "generator_optimizer": optimizer, "step": 7}
    torch.save(content, path)
    checkpoint = open_checkpoint(path)
    assert set(checkpoint.tensors) == {"generator.model.a", "generator.model.b", "generator_ema.a", "generator_ema.b"}
    assert torch.equal(checkpoint.read("generator_ema.a"), other["a"])


@pytest.mark.parametrize("hidden", [False, True], ids=["alone", "beside weights"])
@pytest.mark.parametrize("form", ["pickle", "zip", "legacy"])
def test_code_is_never_run(tmp_path: Path, form: str, hidden: bool) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.pth"
    content = {"a": torch.ones(2), "b": _bomb(canary)} if hidden else _bomb(canary)
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    message = _refusal(path)
    assert "was refused: nothing of it was run" in message or "is incomplete or damaged" in message
    assert not canary.exists()


def test_the_name_of_refused_code_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(_bomb(tmp_path / "canary"), path)
    assert "contains code (" in _refusal(path)
    assert "open" in _refusal(path)


_BASE = torch.zeros(4000)


@pytest.mark.parametrize(
    "weights",
    [
        {"a": torch.ones(1).expand(1_000_000, 1000)},
        {"a": _BASE.as_strided((1000, 1000), (0, 1))},
        {str(start): _BASE[start : start + 3900] for start in range(9)},
    ],
    ids=["expanded", "strided", "overlapping"],
)
def test_tensors_that_claim_more_than_the_file_has_are_refused(tmp_path: Path, weights: dict) -> None:
    path = tmp_path / "model.pth"
    torch.save(weights, path)
    assert "claims" in _refusal(path)


def test_tied_tensors_count_once(tmp_path: Path) -> None:
    path, shared = tmp_path / "model.pth", torch.arange(100_000.0)
    torch.save({"shared.weight": shared, "embed.weight": shared}, path)
    assert torch.equal(open_checkpoint(path).read("embed.weight"), shared)


def test_a_cut_file_is_refused_at_every_length(tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.save(WEIGHTS, whole)
    data, path = whole.getvalue(), tmp_path / "model.pth"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        assert "download it again" in _refusal(path)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    path = tmp_path / "model.pth"
    for old_format in (False, True):
        whole = io.BytesIO()
        torch.save(WEIGHTS, whole, _use_new_zipfile_serialization=not old_format)
        for _ in range(60):
            data = bytearray(whole.getvalue())
            for place in torch.randint(len(data), (3,), generator=generator).tolist():
                data[place] ^= 0xFF
            path.write_bytes(data)
            try:
                open_checkpoint(path)
            except CheckpointError as error:
                assert "\n" not in str(error)


def test_a_zip_bomb_is_refused_before_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    assert "would unpack 1 parts to 50.0 MB" in _refusal(path)


@pytest.mark.parametrize("bomb", [_Call(bytearray, 10**12), _Call(torch.FloatTensor, 10**12)], ids=["bytes", "tensor"])
@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "legacy"])
def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path, bomb: _Call, old_format: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save({"a": torch.ones(2), "b": bomb}, path, _use_new_zipfile_serialization=not old_format)
    assert "was refused: nothing of it was run" in _refusal(path)


@pytest.mark.parametrize(
    "content", [[1, 2], "text", {}, {"a": 1}, {"a": torch.ones(2).to(torch.complex128)}, torch.ones(3)]
)
def test_what_is_no_table_of_weights_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "model.pth"
    torch.save(content, path)
    assert "choose a model file" in _refusal(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"<html>login</html>", "a web page"), (b"", "empty"), (b"version https://git-lfs.github.com/spec/v1", "git-LFS")],
)
def test_what_is_no_pickle_is_named(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    assert says in _refusal(path)


def test_an_old_torch_does_not_open_pickles_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pth"
    torch.save(WEIGHTS, path)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu121")
    assert "which torch 2.5.1+cu121 cannot open safely" in _refusal(path)


def test_a_pickle_called_safetensors_is_told_its_right_ending(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.save(WEIGHTS, path)
    assert "a zip archive (as PyTorch .pth files are): give it its right name ending" in _refusal(path)
