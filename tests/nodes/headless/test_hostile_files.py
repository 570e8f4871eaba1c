"""Hostile model files through the command line: one sentence, exit code 1, little time and memory, nothing run."""

from __future__ import annotations

import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.__main__ import main


class _Opens:
    """Creates a file when it is unpickled carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def _safetensors(header: object, length: int | None = None, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(dtype: str, *shape: int, size: int = 4) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": (0, size)}


def _gguf(tensors: int = 0, keys: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest


def _text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


BYTES = {
    "a header of 2^63 bytes": ("x.safetensors", _safetensors({"a": 1}, 2**63)),
    "nested without end": ("x.safetensors", _safetensors(b'{"a":' + b"[" * 900_000)),
    "a million tensors": (
        "x.safetensors",
        _safetensors(b"{" + b",".join(b'"%d":{}' % number for number in range(1_000_000)) + b"}"),
    ),
    "a tensor of 2^93 bytes": (
        "x.safetensors",
        _safetensors({"a": _entry("F32", 2**31, 2**31, 2**29)}, data=b"\0" * 4),
    ),
    "a negative size": ("x.safetensors", _safetensors({"a": _entry("F32", -1, -1)}, data=b"\0" * 4)),
    "a web page": ("x.safetensors", b"<!DOCTYPE html><html>not found</html>"),
    "a pointer of git-LFS": ("x.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "nothing": ("x.safetensors", b""),
    "2^60 tensors": ("x.gguf", _gguf(tensors=2**60)),
    "2^60 keys": ("x.gguf", _gguf(keys=2**60)),
    "a name of 2^60 bytes": ("x.gguf", _gguf(keys=1, rest=_text(b"general", 2**60))),
    "a list of 2^60 texts": ("x.gguf", _gguf(keys=1, rest=_text(b"a") + struct.pack("<IIQ", 9, 8, 2**60))),
    "lists in lists": ("x.gguf", _gguf(keys=1, rest=_text(b"a") + struct.pack("<IIQ", 9, 9, 1) * 100_000)),
    "a tensor of 2^248 values": (
        "x.gguf",
        _gguf(tensors=1, rest=_text(b"a") + struct.pack("<I4QIQ", 4, *[2**62] * 4, 0, 0)),
    ),
    "an unknown type": (
        "x.gguf",
        _gguf(tensors=1, rest=_text(b"a") + struct.pack("<IQIQ", 1, 32, 999, 0) + b"\0" * 99),
    ),
    "an index that leads elsewhere": (
        "x.safetensors.index.json",
        json.dumps({"weight_map": {"a": "../../../../etc/passwd"}}).encode(),
    ),
    "an index of 100,000 parts": (
        "x.safetensors.index.json",
        json.dumps({"weight_map": {str(number): f"{number}.safetensors" for number in range(100_000)}}).encode(),
    ),
}


def _pickle_bomb(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Opens(path.with_name("canary"))))


def _bomb_beside_weights(path: Path) -> None:
    torch.save({"a": torch.ones(3), "b": _Opens(path.with_name("canary"))}, path)


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 300_000_000)


def _expanded(path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(1_000_000, 1_000_000)}, path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "a pickle that calls": _pickle_bomb,
    "a call beside weights": _bomb_beside_weights,
    "300 MB in a zip of 300 kB": _zip_bomb,
    "4 TB of one number": _expanded,
}


def _inspect(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Inspects a file within the limits; gives the sentence."""
    start = time.process_time()
    code = main(["inspect", str(path)])
    duration_s = time.process_time() - start
    captured = capsys.readouterr()
    assert (code, captured.out) == (1, "")
    assert captured.err.startswith("wan-director: ") and captured.err.count("\n") == 1
    assert "Traceback" not in captured.err and len(captured.err) < 500
    assert duration_s < 5  # what blows up takes minutes
    assert not path.with_name("canary").exists()
    tracemalloc.start()
    main(["inspect", str(path)])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    capsys.readouterr()
    assert peak_bytes < 200e6
    return captured.err


@pytest.mark.parametrize("case", BYTES)
def test_hostile_bytes_are_refused_in_a_sentence(case: str, tmp_path: Path, capsys) -> None:
    name, data = BYTES[case]
    path = tmp_path / name
    path.write_bytes(data)
    assert name in _inspect(path, capsys)


@pytest.mark.parametrize("case", WRITERS)
def test_hostile_pickles_are_refused_in_a_sentence(case: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "x.pth"
    WRITERS[case](path)
    assert "x.pth" in _inspect(path, capsys)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "a/../../secret.safetensors", "/etc/passwd", "\0", "a" * 5000]
)
@pytest.mark.parametrize("node", ["model", "lora"])
def test_names_in_a_workflow_that_are_no_models_are_refused(
    node, name, write, prompt, models, tmp_path, capsys
) -> None:
    (tmp_path / "secret.safetensors").write_bytes(b"password: 1234567")
    if node == "model":
        prompt["1"]["inputs"]["model_name"] = name
    else:
        prompt["9"] = {
            "class_type": "WanDirectorLora",
            "inputs": {"model": ["1", 0], "lora_name": name, "strength": 1.0},
        }
        prompt["6"]["inputs"]["model"] = ["9", 0]
    code = main(["run", str(write(prompt)), "--models", str(models), "--output", str(tmp_path / "out"), "--quiet"])
    err = capsys.readouterr().err
    assert code == 1
    assert err.startswith("wan-director: ") and err.count("\n") == 1
    assert "1234567" not in err and "root:" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_stop_the_run(bad, write, prompt, models, tmp_path, capsys) -> None:
    whole = models / "diffusion_models" / "t2v.safetensors"
    weights = load_file(whole)
    next(iter(weights.values())).view(-1)[0] = bad
    with whole.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    folder = tmp_path / "bad" / "diffusion_models"
    folder.mkdir(parents=True)
    save_file(weights, folder / "nan.safetensors", header["__metadata__"])
    (tmp_path / "paths.yaml").write_text(f"bad: {{base_path: bad, diffusion_models: {folder.name}}}")
    prompt["1"]["inputs"]["model_name"] = "nan.safetensors"
    where = ["--models", str(models), "--extra-model-paths", str(tmp_path / "paths.yaml")]
    code = main(["run", str(write(prompt)), *where, "--output", str(tmp_path / "out"), "--quiet"])
    err = capsys.readouterr().err
    assert code == 1 and "no numbers (NaN or infinite)" in err and err.count("\n") == 1
