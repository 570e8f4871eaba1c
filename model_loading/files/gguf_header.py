"""The header of a GGUF file, read by hand: every count, length and place is checked before anything is done with it.

Format (version 2 and 3): "GGUF", version, number of tensors, number of metadata fields, the fields (name, type, value),
the tensors (name, dimensions, type, place), padding, the data.
Source: ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import os
import re
import struct
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...common.errors import FileFault
from ...common.records import record
from ...weights.ggml_types import GGML_TYPES, TYPES_BY_NAME
from .checkpoint import TensorInfo
from .faults import damaged, incomplete
from .file_type import human_bytes, shorten
from .safetensors_file import MAX_TENSORS

# A UMT5 with its vocabulary has 6 MB, the largest language models about 20 MB.
MAX_HEADER_BYTES = 64_000_000
MAX_FIELDS = 50_000
# Texts are walked over one by one: 0.2 s for the 256,384 of UMT5's vocabulary.
MAX_LISTED_TEXTS = 1_000_000
MAX_DIMENSIONS = 8
_MAX_NAME_BYTES = 1024
# Longer texts (whole tokenizers as JSON, licences) are left out.
_MAX_TEXT_BYTES = 16_000
_MAX_ALIGNMENT = 1 << 16
_TENSOR_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:]{1,255}")

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


@record
class ArrayPlace:
    """Where a metadata array lies: `kind` is a `struct` letter, or "s" for texts."""

    kind: str
    count: int
    start: int


class GgufTensorInfo(TensorInfo):
    """What a GGUF header says of one tensor: `dtype` in ggml's words ("Q4_K", "F16"), `shape` in torch's order."""

    __slots__ = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's data."""
        kind = TYPES_BY_NAME[self.dtype]
        return prod(self.shape) // kind.elements * kind.size_bytes


class Header(NamedTuple):
    """Metadata texts and single numbers (as text), the places of metadata arrays, and the tensors with their places.

    Tensors have the shape of the file, turned to torch's order. `starts` are counted from the start of the file.
    """

    metadata: dict[str, str]
    arrays: dict[str, ArrayPlace]
    tensors: dict[str, GgufTensorInfo]
    starts: dict[str, int]


def read_header(path: Path, size: int) -> Header:
    """Reads the header of a GGUF file of `size` bytes.

    Raises:
        FileFault: it is damaged, incomplete, or of a version or byte order this reader does not know.
    """
    with path.open("rb") as file:
        cursor = _Cursor(file, size)
        tensor_count, field_count = _read_start(cursor)
        metadata, arrays = _read_fields(cursor, field_count)
        tensors, offsets = _read_tensors(cursor, tensor_count)
        alignment = _alignment(metadata)
        data_start = -(-cursor.position // alignment) * alignment
    _check_places(tensors, offsets, data_start, size)
    return Header(metadata, arrays, tensors, {name: offset + data_start for name, offset in offsets.items()})


def read_texts(path: Path, place: ArrayPlace) -> list[str]:
    """The values of a metadata array of texts; those that are not UTF-8 have a replacement character in them."""
    with path.open("rb") as file:
        file.seek(place.start)
        cursor = _Cursor(file, path.stat().st_size, place.start)
        return [cursor.take(cursor.whole(8)).decode("utf-8", "replace") for _ in range(place.count)]


def read_numbers(path: Path, place: ArrayPlace) -> list[float]:
    """The values of a metadata array of numbers, int or float by its kind."""
    with path.open("rb") as file:
        file.seek(place.start)
        data = _Cursor(file, path.stat().st_size, place.start).take(place.count * struct.calcsize(place.kind))
        return list(struct.unpack(f"<{place.count}{place.kind}", data))


class _Cursor:
    """Reads forward through the header, and never beyond it or the file."""

    def __init__(self, file: BinaryIO, size: int, position: int = 0) -> None:
        self.position = position
        self._file = file
        self._size = size
        self._limit = position + MAX_HEADER_BYTES

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self._advance(count)
        data = self._file.read(count)
        if len(data) != count:
            raise incomplete(self._size, self.position)
        return data

    def skip(self, count: int) -> None:
        """Passes over `count` bytes."""
        self._advance(count)
        self._file.seek(self.position)

    def skip_texts(self, count: int) -> None:
        """Passes over `count` texts. There can be a million of them, so the checks come at the end."""
        read, seek, position, limit = self._file.read, self._file.seek, self.position, min(self._size, self._limit)
        for _ in range(count):
            length = int.from_bytes(read(8), "little")
            position += 8 + length
            if position > limit:
                break
            seek(length, os.SEEK_CUR)
        self._advance(position - self.position)

    def number(self, kind: str) -> int | float | bool:
        """The next number; `kind` as for `struct`."""
        return struct.unpack("<" + kind, self.take(struct.calcsize(kind)))[0]

    def whole(self, count: int) -> int:
        """The next whole number, of `count` bytes and without a sign."""
        return int.from_bytes(self.take(count), "little")

    def name(self, what: str) -> str:
        """The next text, which must be a short one in UTF-8."""
        length = self.whole(8)
        if length > _MAX_NAME_BYTES:
            raise damaged(f"the name of a {what} claims {length:,} bytes (real ones stay below 200)")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise damaged(f"the name of a {what} is no text") from None

    def _advance(self, count: int) -> None:
        self.position += count
        if self.position > self._size:
            raise incomplete(self._size, self.position)
        if self.position > self._limit:
            raise damaged(f"its header claims more than {human_bytes(MAX_HEADER_BYTES)}")


def _read_start(cursor: _Cursor) -> tuple[int, int]:
    """Magic, version and the number of tensors and of metadata fields."""
    if cursor.take(4) != b"GGUF":
        raise FileFault("is not a GGUF file", "give it its right name ending, or download it again")
    version = cursor.whole(4)
    if version and not version & 0xFFFF:
        raise FileFault(
            "is a GGUF file for big-endian machines, which no current machine runs Wan on",
            "Use the usual (little-endian) file of the same model",
        )
    if version not in (2, 3):
        age = "too old" if version < 2 else "unknown here"
        raise FileFault(
            f"is a GGUF file of version {version}, which is {age}",
            "Use a file of version 2 or 3, as published since the end of 2023",
        )
    tensors, fields = cursor.whole(8), cursor.whole(8)
    if tensors > MAX_TENSORS or fields > MAX_FIELDS:
        raise damaged(f"it claims {tensors:,} tensors and {fields:,} metadata fields (real ones: a few thousand)")
    return tensors, fields


def _read_fields(cursor: _Cursor, count: int) -> tuple[dict[str, str], dict[str, ArrayPlace]]:
    metadata: dict[str, str] = {}
    arrays: dict[str, ArrayPlace] = {}
    texts_left = MAX_LISTED_TEXTS
    for _ in range(count):
        name, kind = cursor.name("metadata field"), cursor.whole(4)
        if name in metadata or name in arrays:
            raise damaged(f"the metadata field {shorten(name)} appears twice")
        if kind == _ARRAY:
            arrays[name] = place = _pass_array(cursor, name, texts_left)
            texts_left -= place.count if place.kind == "s" else 0
        elif kind == _TEXT:
            length = cursor.whole(8)
            if length <= _MAX_TEXT_BYTES:
                metadata[name] = cursor.take(length).decode("utf-8", "replace")
            else:
                cursor.skip(length)
        elif kind in _NUMBERS:
            metadata[name] = str(cursor.number(_NUMBERS[kind]))
        else:
            raise damaged(f"the metadata field {shorten(name)} is of the unknown type {kind}")
    return metadata, arrays


def _pass_array(cursor: _Cursor, name: str, texts_left: int) -> ArrayPlace:
    """Notes where an array lies and passes over it."""
    kind, count = cursor.whole(4), cursor.whole(8)
    start = cursor.position
    if kind in _NUMBERS:
        cursor.skip(count * struct.calcsize(_NUMBERS[kind]))
        return ArrayPlace(_NUMBERS[kind], count, start)
    if kind != _TEXT:
        what = "lists within a list" if kind == _ARRAY else f"values of the unknown type {kind}"
        raise damaged(f"the metadata field {shorten(name)} holds {what}, which no Wan file has")
    if count > texts_left:
        raise damaged(f"the metadata field {shorten(name)} claims {count:,} texts")
    cursor.skip_texts(count)
    return ArrayPlace("s", count, start)


def _read_tensors(cursor: _Cursor, count: int) -> tuple[dict[str, GgufTensorInfo], dict[str, int]]:
    """The tensors, and their places counted from the start of the data."""
    tensors: dict[str, GgufTensorInfo] = {}
    offsets: dict[str, int] = {}
    for _ in range(count):
        name = cursor.name("tensor")
        if not _TENSOR_NAME.fullmatch(name) or ".." in name:
            raise damaged(f"{shorten(name)} is no name of a tensor")
        if name in tensors:
            raise damaged(f"the tensor {shorten(name)} appears twice")
        dimensions = cursor.whole(4)
        if dimensions > MAX_DIMENSIONS:
            raise damaged(f"the tensor {shorten(name)} claims {dimensions:,} dimensions")
        shape = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions))[::-1]
        kind, offsets[name] = cursor.whole(4), cursor.whole(8)
        tensors[name] = _tensor_info(name, kind, shape)
    return tensors, offsets


def _tensor_info(name: str, kind: int, shape: tuple[int, ...]) -> GgufTensorInfo:
    known = GGML_TYPES.get(kind)
    if known is None:
        raise FileFault(
            f"is of the ggml type number {kind}, which is not known here",
            "Use a Q8_0, Q6_K, Q5_K_M or Q4_K_M file of the same model",
            f"tensor {shorten(name)}",
        )
    if any(size >= 2**63 for size in shape) or prod(shape) >= 2**63:
        raise damaged(f"the tensor {shorten(name)} has the impossible shape {list(shape)}")
    if (shape[-1] if shape else 1) % known.elements:
        raise damaged(
            f"the tensor {shorten(name)} of {list(shape)} is not made of blocks of {known.elements} ({known.name})",
        )
    return GgufTensorInfo(known.name, shape)


def _alignment(metadata: dict[str, str]) -> int:
    text = metadata.get("general.alignment", "32")
    alignment = int(text) if text.isdecimal() else 0
    if not 8 <= alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise damaged(f"its tensors start at multiples of {shorten(text)}, which is no power of two from 8 on")
    return alignment


def _check_places(tensors: dict[str, GgufTensorInfo], offsets: dict[str, int], data_start: int, size: int) -> None:
    """Tensors must start at a multiple of 8, must not overlap, and must end within the file."""
    end = 0
    for name, offset in sorted(offsets.items(), key=lambda item: item[1]):
        if offset % 8 or offset >= 2**63:
            raise damaged(f"the tensor {shorten(name)} starts at the impossible place {offset:,}")
        length = tensors[name].size_bytes
        if length and offset < end:
            raise damaged(f"the tensor {shorten(name)} overlaps another")
        end = max(end, offset + length)
    if data_start + end > size:
        raise incomplete(size, data_start + end)
