"""Reading .safetensors files: the header by hand (so that damage can be named), the tensors one at a time.

Format: 8 bytes little-endian header length N, N bytes of JSON {name: {dtype, shape, data_offsets}}, then the data.
Source: huggingface/safetensors, README "Format" and safetensors/src/tensor.rs (limits and checks).
"""

from __future__ import annotations

import json
import sys
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from ...common.errors import FileFault
from .checkpoint import DTYPE_BITS, TORCH_DTYPES, TensorInfo
from .faults import damaged, incomplete, naming
from .file_data import FileData
from .file_type import describe_content, human_bytes, shorten

# The largest real header (fp8-scaled 14B) is 0.25 MB; LoRA metadata can reach a few MB.
MAX_HEADER_BYTES = 16_000_000
MAX_TENSORS = 20_000
MAX_DIMENSIONS = 16
# Parsing costs time and memory by the number of values, not of bytes: bombs are counted before they are parsed.
MAX_VALUES = 300_000
_LENGTH_BYTES = 8


class _Range(NamedTuple):
    start: int
    stop: int


class SafetensorsFile:
    """One .safetensors file: its tensors by name, read only when asked for.

    Args:
        path: the file.
        use_map: serve tensors from a map of the file (default: everywhere but on Windows).

    Raises:
        CheckpointError: the file is not a sound, complete safetensors file; the message says what it is instead.
    """

    def __init__(self, path: Path, use_map: bool = sys.platform != "win32") -> None:
        self.path = path
        self.size_bytes = path.stat().st_size
        self.notes: tuple[str, ...] = ()
        self._data = FileData(path, self.size_bytes, use_map)
        with naming(path):
            header, data_start = _read_header(path, self.size_bytes)
            metadata = _take_metadata(header)
            infos, places = _read_entries(header)
            _check_layout(places, data_start, self.size_bytes)
        self.metadata: MappingProxyType[str, str] = MappingProxyType(metadata)
        self.tensors: MappingProxyType[str, TensorInfo] = MappingProxyType(infos)
        self._places = {name: _Range(start + data_start, stop + data_start) for name, (start, stop) in places.items()}

    def read(self, key: str) -> Tensor:
        """The tensor called `key`, in the file's dtype, on the CPU. Treat it as read-only.

        Raises:
            CheckpointError: its dtype is one torch cannot hold.
        """
        info, place = self.tensors[key], self._places[key]
        dtype = TORCH_DTYPES.get(info.dtype)
        with naming(self.path):
            if dtype is None:
                raise FileFault(
                    f"has the number format {info.dtype}, which this version cannot read",
                    "Use a bf16, fp16 or fp32 file",
                    f"tensor {key!r}",
                )
            return self._data.read(place.start, dtype, info.elements).view(info.shape)

    def expect(self, key: str) -> None:
        """See `Checkpoint.expect`."""
        place = self._places[key]
        self._data.expect(place.start, place.stop - place.start)

    def release(self, key: str) -> None:
        """See `Checkpoint.release`."""
        place = self._places[key]
        self._data.release(place.start, place.stop - place.start)


def _read_header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    """The JSON header as a table, and where the data starts."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        first = file.read(1)
        if length < 2 or first != b"{" or (length > MAX_HEADER_BYTES and describe_content(path)):
            raise _not_safetensors(path)
        if length > MAX_HEADER_BYTES:
            raise damaged(f"its header claims {human_bytes(length)} (real ones stay below 1 MB)")
        if _LENGTH_BYTES + length > size:
            raise FileFault(
                f"is incomplete ({human_bytes(size)}, not even its header of {human_bytes(length)} is whole)"
            )
        text = first + file.read(length - 1)
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise damaged(f"its header of {human_bytes(length)} lists more than {MAX_VALUES:,} values")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise damaged(f"its header is not readable ({shorten(error)})") from None
    if not isinstance(header, dict):
        raise damaged("its header is not a table")
    return header, _LENGTH_BYTES + length


def _take_metadata(header: dict[str, Any]) -> dict[str, str]:
    """The texts of a header, taken out of it."""
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        raise damaged("its metadata is not a table of texts")
    return {str(key): str(value) for key, value in metadata.items()}


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name appears twice")
    return table


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no size")


def _read_entries(header: dict[str, Any]) -> tuple[dict[str, TensorInfo], dict[str, _Range]]:
    """Checks every entry by itself: known dtype, sane shape, as many bytes as shape and dtype need."""
    if len(header) > MAX_TENSORS:
        raise damaged(f"its header lists {len(header):,} tensors (real models have at most a few thousand)")
    infos: dict[str, TensorInfo] = {}
    places: dict[str, _Range] = {}
    for name, entry in header.items():
        try:
            dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        except (TypeError, KeyError, ValueError):
            raise damaged(f"the entry of tensor {shorten(name)} is malformed") from None
        numbers = (*shape, start, stop)
        if any(type(number) is not int or not 0 <= number < 2**63 for number in numbers) or len(shape) > MAX_DIMENSIONS:
            raise damaged(f"tensor {shorten(name)} has an impossible shape or place")
        if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
            raise damaged(f"tensor {shorten(name)} has the unknown number format {shorten(dtype)}")
        infos[name], places[name] = TensorInfo(dtype, shape), _Range(start, stop)
        bits = prod(shape) * DTYPE_BITS[dtype]
        if bits % 8 or bits // 8 != stop - start:
            raise damaged(
                f"tensor {shorten(name)} of {dtype} {list(shape)} needs {bits / 8:.0f} bytes, not {stop - start}"
            )
    return infos, places


def _check_layout(places: dict[str, _Range], data_start: int, size: int) -> None:
    """The tensors must cover the data without gap or overlap, and the file must end where the last one does."""
    end = 0
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        if place.start != end:
            problem = "overlaps another" if place.start < end else "leaves a gap before it"
            raise damaged(f"tensor {shorten(name)} {problem}")
        end = place.stop
    expected = data_start + end
    if size < expected:
        raise incomplete(size, expected)
    if size > expected:
        raise FileFault(
            f"has {human_bytes(size - expected)} too much at its end ({size:,} bytes instead of {expected:,})"
        )


def _not_safetensors(path: Path) -> FileFault:
    content = describe_content(path)
    if content is None:
        return FileFault("is not a safetensors file, and nothing else we know", "it may be damaged; download it again")
    advice = "" if ":" in content else "give it its right name ending, or download the safetensors file"
    return FileFault(f"is {content}", advice)
