"""Damaged and hostile safetensors files: refused in one sentence, fast, and never read past."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from wan_director.common.errors import CheckpointError
from wan_director.model_loading.files.safetensors_file import MAX_HEADER_BYTES, MAX_TENSORS, MAX_VALUES, SafetensorsFile
from wan_director.model_loading.opening import open_checkpoint

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def _sound_bytes(tmp_path: Path) -> bytes:
    path = tmp_path / "sound.safetensors"
    save_file({"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, path)
    return path.read_bytes()


def _file(tmp_path: Path, data: bytes, name: str = "model.safetensors") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def _with_header(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(path)
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    sound = _sound_bytes(tmp_path)
    for length in range(len(sound)):
        message = _refusal(_file(tmp_path, sound[:length]))
        assert "download it again" in message


def test_a_cut_file_is_told_its_expected_size(header_file) -> None:
    path = header_file({"w": ("BF16", (7_150_000, 1000))}, name="wan.safetensors")
    with path.open("r+b") as file:
        file.truncate(3_200_000_000)
    assert _refusal(path) == "wan.safetensors is incomplete (3.2 of 14.3 GB): download it again."


def test_a_file_cut_by_one_byte_is_told_exact_sizes(tmp_path: Path) -> None:
    sound = _sound_bytes(tmp_path)
    message = _refusal(_file(tmp_path, sound[:-1]))
    assert f"{len(sound) - 1:,} of {len(sound):,} bytes" in message


def test_extra_bytes_at_the_end_are_refused(tmp_path: Path) -> None:
    assert "3 bytes too much at its end" in _refusal(_file(tmp_path, _sound_bytes(tmp_path) + b"abc"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty: download it again"),
        (b"\0" * 4096, "filled with zeros"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "a web page"),
        (b"\n  <html lang='en'>" + b"x" * 100, "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "a git-LFS pointer"),
        (b"PK\x03\x04" + b"\0" * 100, "a zip archive (as PyTorch .pth files are): give it its right name ending"),
        (b"\x80\x02}q\0." + b"\0" * 100, "a Python pickle"),
        (b'{"error": "Invalid credentials"}' + b" " * 100, "a text file (JSON)"),
        (b'{"meta":{"a": 1}}' + b" " * 100, "a text file (JSON)"),
        (b"\x1f\x8b" + b"\0" * 100, "a gzip archive"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "a picture"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08garbage", "is not a safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_named_by_its_content(tmp_path: Path, data: bytes, says: str) -> None:
    assert says in _refusal(_file(tmp_path, data))


def _entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "header",
    [
        b"{}x",
        b"{\xff}",
        b'{"a": NaN}',
        b'{"a": 1}',
        b'{"a": []}',
        b'{"a": "text"}',
        b'{"a": {"dtype": "F32"}}',
        b"{" + b'"a":{' * 5000,
        b'{"a":' + b"[" * 500_000,
        b'{"a": ' + b"9" * 6000 + b"}",
        {"a": _entry("F99")},
        {"a": _entry(["F32"])},
        {"a": _entry(shape=[-1])},
        {"a": _entry(shape=[1.0])},
        {"a": _entry(shape=[True])},
        {"a": _entry(shape="1")},
        {"a": _entry(shape=[2**62, 2**62])},
        {"a": _entry(shape=[2**64])},
        {"a": _entry(shape=[1] * 40)},
        {"a": _entry(shape=[2])},
        {"a": _entry(offsets=[0])},
        {"a": _entry(offsets=[4, 0])},
        {"a": _entry(offsets=[-4, 0])},
        {"a": _entry(offsets=[0, 2**63])},
        {"a": _entry("F4", [1], [0, 1])},
        {"a": _entry(), "b": _entry()},
        {"a": _entry(), "b": _entry(offsets=[8, 12])},
        {"a": _entry(offsets=[4, 8])},
        b"{%(entry)s, %(entry)s}" % {b"entry": b'"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'},
        {"__metadata__": 3, "a": _entry()},
        {"a" * 10_000: _entry("F99")},
    ],
)
def test_malformed_headers_are_refused(tmp_path: Path, header: object) -> None:
    message = _refusal(_file(tmp_path, _with_header(header, b"\0" * 4)))
    assert "is damaged" in message
    assert "Download it again" in message


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, MAX_HEADER_BYTES + 1])
def test_a_header_length_beyond_reason_is_refused_without_reading(tmp_path: Path, length: int) -> None:
    path = _file(tmp_path, struct.pack("<Q", length) + b'{"__metadata__":{}' + b" " * 100)
    assert "its header claims" in _refusal(path)


def _bomb_of_tensors(count: int = 250_000) -> bytes:
    entries = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % index for index in range(count))
    return _with_header(b"{" + entries + b"}")


def _bomb_of_a_few_more_tensors_than_allowed() -> bytes:
    return _bomb_of_tensors(MAX_TENSORS + 1)


def _bomb_of_lists() -> bytes:
    return _with_header(b'{"a":[' + b"[]," * 5_000_000 + b"[]]}")


def _bomb_of_as_many_lists_as_are_parsed() -> bytes:
    return _with_header(b'{"a":[' + b"[]," * (MAX_VALUES // 2 - 5) + b"[]]}")


def _bomb_of_numbers() -> bytes:
    return _with_header(b'{"a":[' + b"1," * 7_000_000 + b"1]}")


def _bomb_of_name() -> bytes:
    return _with_header(b'{"' + b"a" * 15_000_000 + b'":1}')


@pytest.mark.parametrize(
    "bomb",
    [
        _bomb_of_tensors,
        _bomb_of_a_few_more_tensors_than_allowed,
        _bomb_of_lists,
        _bomb_of_as_many_lists_as_are_parsed,
        _bomb_of_numbers,
        _bomb_of_name,
    ],
    ids=lambda bomb: bomb.__name__.removeprefix("_bomb_of_"),
)
def test_header_bombs_cost_little_time_and_memory(tmp_path: Path, bomb) -> None:
    path = _file(tmp_path, bomb())
    start = time.process_time()
    _refusal(path)
    assert time.process_time() - start < 5  # what blows up takes minutes
    tracemalloc.start()
    _refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


@given(data=st.data())
@settings(SHARED_FOLDER, max_examples=120)
def test_flipped_bits_give_a_sentence_or_what_safetensors_reads(tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(_sound_bytes(tmp_path))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = _file(tmp_path, bytes(damaged))
    try:
        ours = SafetensorsFile(path)
    except CheckpointError:
        return
    with safe_open(path, "pt") as reference:  # what we accept, the reference accepts
        assert set(reference.keys()) == ours.tensors.keys()
        for key in ours.tensors:
            assert torch.equal(_bytes(ours.read(key)), _bytes(reference.get_tensor(key)))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
_entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F8_E4M3", "BOOL", "F4", "X"]) | _json,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | _json,
        "data_offsets": st.lists(st.integers(0, 16), min_size=2, max_size=2) | _json,
    }
)


@given(header=st.dictionaries(st.text(max_size=8), _entries | _json, max_size=4), tail=st.binary(max_size=16))
@settings(SHARED_FOLDER, max_examples=120)
def test_what_we_accept_the_reference_accepts(tmp_path: Path, header: dict, tail: bytes) -> None:
    path = _file(tmp_path, _with_header(header, tail))
    try:
        ours = SafetensorsFile(path)
    except CheckpointError:
        return
    try:
        with safe_open(path, "pt") as reference:
            assert set(reference.keys()) == ours.tensors.keys()
    except SafetensorError as error:  # it also wants metadata to be texts
        assert "__metadata__" in header, error
