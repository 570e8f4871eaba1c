"""Damaged and hostile GGUF headers: a sentence, in bounded time and memory, and nothing else."""

from __future__ import annotations

import resource
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wan_director.common.errors import CheckpointError
from wan_director.model_loading.files.gguf_header import MAX_FIELDS, MAX_LISTED_TEXTS
from wan_director.model_loading.files.safetensors_file import MAX_TENSORS
from wan_director.model_loading.opening import open_checkpoint

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


def _text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def _tensor(name: str | bytes = "w", shape: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<{len(shape)}Q", *shape)
    return _text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, offset)


def _field(kind: int, value: bytes, name: str | bytes = "a.field") -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _list(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def _file(fields: list[bytes] | None = None, tensors: list[bytes] | None = None, data: bytes = b"\0" * 256) -> bytes:
    fields, tensors = fields or [], tensors if tensors is not None else [_tensor()]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)) + b"".join(fields + tensors)
    return head + b"\0" * (-len(head) % 32) + data


def _refusal(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(path)
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_the_files_of_these_tests_are_sound_without_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(_file([_field(4, b"\0\0\0\0"), _field(9, _list(8, 1, _text("x")), "a.list")]))
    assert open_checkpoint(path).tensors["w"].shape == (8,)


def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path, write_gguf) -> None:
    packed = np.zeros((2, 34), np.uint8)
    metadata = {"a": "text", "b": [1, 2], "c": ["x", "yy"], "d": True}
    path = write_gguf({"w": np.ones((2, 3), np.float32), "q": (packed, "Q8_0")}, metadata)
    sound = path.read_bytes()
    end = len(sound) - (-68 % 32)  # the writer pads the last tensor too
    for length in range(4, end):
        assert "is incomplete" in _refusal(tmp_path, sound[:length])


def test_a_cut_file_is_told_its_expected_size(tmp_path: Path) -> None:
    data = _file(tensors=[_tensor(shape=(1_000_000, 1000), kind=1)])
    assert _refusal(tmp_path, data).startswith("model.gguf is incomplete (")
    assert "2.0 GB" in _refusal(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GGUF" + struct.pack("<I", 1) + b"\0" * 64, "of version 1, which is too old"),
        (b"GGUF" + struct.pack("<I", 9) + b"\0" * 64, "of version 9, which is unknown here"),
        (b"GGUF" + struct.pack(">I", 3) + b"\0" * 64, "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, MAX_TENSORS + 1, 0) + b"\0" * 64, "claims 20,001 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 0) + b"\0" * 64, "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, MAX_FIELDS + 1) + b"\0" * 64, "metadata fields"),
        (_file([_field(13, b"\0" * 8)]), "of the unknown type 13"),
        (_file([_field(9, _list(9, 1, _list(4, 1, b"\0" * 4)))]), "lists within a list"),
        (_file([_field(9, _list(77, 1))]), "values of the unknown type 77"),
        (_file([_field(9, _list(4, 2**62))]), "is incomplete"),
        (_file([_field(9, _list(8, MAX_LISTED_TEXTS + 1))]), "claims 1,000,001 texts"),
        (_file([_field(8, struct.pack("<Q", 2**63))]), "is incomplete"),
        (_file([_field(4, b"\0" * 4)] * 2), "appears twice"),
        (_file([_field(4, b"\0" * 4, name=b"\xff\xfe")]), "is no text"),
        (_file([_field(4, b"\0" * 4, name="x" * 2000)]), "claims 2,000 bytes"),
        (_file([_field(4, struct.pack("<I", 0), "general.alignment")]), "no power of two"),
        (_file([_field(4, struct.pack("<I", 48), "general.alignment")]), "no power of two"),
        (_file([_field(4, struct.pack("<I", 2**31), "general.alignment")]), "no power of two"),
        (_file([_field(8, _text("many"), "general.alignment")]), "no power of two"),
        (_file(tensors=[_tensor("../../etc/passwd")]), "is no name of a tensor"),
        (_file(tensors=[_tensor("C:\\x")]), "is no name of a tensor"),
        (_file(tensors=[_tensor("a\0b")]), "is no name of a tensor"),
        (_file(tensors=[_tensor("")]), "is no name of a tensor"),
        (_file(tensors=[_tensor(b"\xc3(")]), "is no text"),
        (_file(tensors=[_tensor(), _tensor(offset=32)]), "appears twice"),
        (_file(tensors=[_tensor(shape=(1,) * 9)]), "claims 9 dimensions"),
        (_file(tensors=[_text("w") + struct.pack("<I", 2**32 - 1)]), "dimensions"),
        (_file(tensors=[_tensor(shape=(2**40, 2**40))]), "impossible shape"),
        (_file(tensors=[_tensor(shape=(2**64 - 1,))]), "impossible shape"),
        (_file(tensors=[_tensor(shape=(33,), kind=8)]), "not made of blocks of 32"),
        (_file(tensors=[_tensor(shape=(), kind=8)]), "not made of blocks of 32"),
        (_file(tensors=[_tensor(kind=31)]), "ggml type number 31, which is not known here. Use a Q8_0"),
        (_file(tensors=[_tensor(offset=3)]), "impossible place"),
        (_file(tensors=[_tensor(offset=2**63)]), "impossible place"),
        (_file(tensors=[_tensor(offset=2**40)]), "is incomplete"),
        (_file(tensors=[_tensor("a"), _tensor("b", offset=8)]), "overlaps another"),
    ],
)
def test_damage_is_named(tmp_path: Path, data: bytes, says: str) -> None:
    assert says in _refusal(tmp_path, data)


@pytest.mark.parametrize(
    "value",
    [_list(5, 1, struct.pack("<i", 9)), _list(5, 2, struct.pack("<ii", -2, -4)), _list(6, 1, struct.pack("<f", 8))]
    + [_list(8, 1, _text("8")), _list(5, 0), _list(5, 9, b"\1\0\0\0" * 9)],
)
def test_an_original_shape_that_cannot_be_is_refused(tmp_path: Path, value: bytes) -> None:
    assert "shape" in _refusal(tmp_path, _file([_field(9, value, "comfy.gguf.orig_shape.w")]))


def _bomb_of_overlapping_tensors() -> bytes:
    return _file(tensors=[_tensor(f"t{index}", (64,)) for index in range(MAX_TENSORS)])


def _bomb_of_fields() -> bytes:
    return _file([_field(4, b"\0" * 4, f"f{index}") for index in range(MAX_FIELDS)], [_tensor(kind=31)])


def _bomb_of_texts() -> bytes:
    return _file([_field(9, _list(8, MAX_LISTED_TEXTS, b"\0" * 8 * MAX_LISTED_TEXTS))], [_tensor(kind=31)])


def _bomb_of_several_lists() -> bytes:
    half = _list(8, MAX_LISTED_TEXTS // 2, b"\0" * 4 * MAX_LISTED_TEXTS)
    return _file([_field(9, half, f"f{index}") for index in range(3)])


def _bomb_of_long_texts() -> bytes:
    snowmen = "\N{SNOWMAN}" * 5_000
    return _file([_field(8, _text("\U0001f600" + snowmen), f"f{index}") for index in range(4_500)])


def _bomb_of_a_long_header() -> bytes:
    return _file([_field(9, _list(4, 20_000_000, bytes(80_000_000)))])


def _bomb_of_original_shapes() -> bytes:
    count = 4_000
    names = [f"t{index}" for index in range(count)]
    shapes = [_field(9, _list(5, 1, struct.pack("<i", 8)), f"comfy.gguf.orig_shape.{name}") for name in names]
    tensors = [_tensor(name, offset=32 * index) for index, name in enumerate(names[:-1])]
    return _file(shapes, [*tensors, _tensor(names[-1], (9,), offset=32 * count)], bytes(33 * count))


BOMBS = [
    _bomb_of_overlapping_tensors,
    _bomb_of_fields,
    _bomb_of_texts,
    _bomb_of_several_lists,
    _bomb_of_long_texts,
    _bomb_of_a_long_header,
    _bomb_of_original_shapes,
]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__.removeprefix("_bomb_of_"))
def test_header_bombs_cost_little_time(tmp_path: Path, bomb) -> None:
    data = bomb()
    start = time.process_time()
    _refusal(tmp_path, data)
    assert time.process_time() - start < 5  # what blows up takes minutes


@pytest.mark.parametrize("bomb", [_bomb_of_overlapping_tensors, _bomb_of_fields, _bomb_of_long_texts])
def test_header_bombs_cost_little_memory(tmp_path: Path, bomb) -> None:
    """The others are lists, of which nothing is kept."""
    data = bomb()
    tracemalloc.start()
    _refusal(tmp_path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


@pytest.fixture(scope="module")
def sound() -> bytes:
    """A file with every kind of thing in it; the data of its tensors is one in every byte."""
    fields = [
        _field(8, _text("wan"), "general.architecture"),
        _field(4, struct.pack("<I", 32), "general.alignment"),
        _field(9, _list(5, 2, struct.pack("<ii", 2, 4)), "comfy.gguf.orig_shape.w"),
        _field(9, _list(8, 2, _text("a") + _text("bc")), "tokenizer.ggml.tokens"),
        _field(7, b"\1", "a.flag"),
        _field(12, struct.pack("<d", 1.5), "a.number"),
    ]
    tensors = [_tensor(), _tensor("patch_embedding.weight", (4, 8), 1, 32), _tensor("q", (32, 2), 8, 96)]
    return _file(fields, tensors, b"\1" * 192)


@given(data=st.data())
@SHARED_FOLDER
def test_flipped_bits_give_a_sentence_or_readable_tensors(tmp_path: Path, sound: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    _open_and_read_all(tmp_path, bytes(damaged))


@given(data=st.data())
@SHARED_FOLDER
def test_replaced_numbers_give_a_sentence_or_readable_tensors(
    tmp_path: Path, sound: bytes, data: st.DataObject
) -> None:
    """Counts, lengths, sizes and places become numbers at which careless arithmetic fails."""
    damaged = bytearray(sound)
    at = data.draw(st.integers(4, len(damaged) - 9))
    size = data.draw(st.sampled_from([4, 8]))
    number = data.draw(
        st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]) | st.integers(0, 99)
    )
    damaged[at : at + size] = (number % 256**size).to_bytes(size, "little")
    cut = data.draw(st.none() | st.integers(4, len(damaged)))
    _open_and_read_all(tmp_path, bytes(damaged[:cut]))


@given(tail=st.binary(max_size=400))
@SHARED_FOLDER
def test_any_bytes_give_a_sentence_or_readable_tensors(tmp_path: Path, tail: bytes) -> None:
    _open_and_read_all(tmp_path, b"GGUF" + struct.pack("<IQQ", 3, 2, 2) + tail)


def _open_and_read_all(tmp_path: Path, data: bytes) -> None:
    """Only a CheckpointError may come out, soon, and the process must not grow by 200 MB."""
    path = tmp_path / "model.gguf"
    path.unlink(missing_ok=True)  # a map of the last one may still be alive
    path.write_bytes(data)
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        checkpoint = open_checkpoint(path)
        for key, info in checkpoint.tensors.items():
            weight = checkpoint.read(key)
            assert weight.numel() * weight.element_size() == info.size_bytes <= len(data)
            assert weight.dtype == torch.uint8 or tuple(weight.shape) == info.shape
    except CheckpointError as error:
        assert path.name in str(error)
        assert "\n" not in str(error)
    assert time.process_time() - start < 5  # what blows up takes minutes
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 200e6
