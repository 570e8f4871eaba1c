"""The parts of a split GGUF model: found from any one of them, and checked to belong together.

Each part is a whole GGUF file of some of the tensors; the first one has the metadata. Source: ggml-org/llama.cpp,
tools/gguf-split (names and the fields split.no, split.count, split.tensors.count).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ...common.errors import FileFault, MissingFileError
from .faults import naming
from .file_data import FileData
from .file_type import shorten
from .gguf_header import Header, read_header

_COUNT, _NUMBER, _TENSORS = "split.count", "split.no", "split.tensors.count"
_PART_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_MAX_PARTS = 1000


class GgufPart(NamedTuple):
    """One file of a model: its header, its bytes, and their number."""

    path: Path
    header: Header
    data: FileData
    size_bytes: int


def read_parts(path: Path, use_map: bool) -> tuple[GgufPart, ...]:
    """The file at `path`, or all parts of the model that it is a part of, in their order.

    Raises:
        MissingFileError: a part is not there.
        CheckpointError: a part is damaged, or of another model.
        FileFault: the parts cannot be found, or do not belong together.
    """
    chosen = _read(path, use_map)
    count = _number(chosen, _COUNT)
    if count <= 1:
        return (chosen,)
    paths = _paths(path, count)
    missing = [part.name for part in paths if not part.is_file()]
    if missing:
        raise MissingFileError(
            f"{path.name} is one of {count} parts of a model, {len(missing)} of them are missing (first: "
            f"{missing[0]}). Put them into {path.parent}."
        )
    parts = tuple(chosen if part == path else _read(part, use_map) for part in paths)
    _check_together(parts, count)
    return parts


def part_names(path: Path) -> list[Path]:
    """The files beside `path` that are parts of the same split model by their names, itself included."""
    name = _PART_NAME.fullmatch(path.name)
    if name is None:
        return [path]
    beside = ((_PART_NAME.fullmatch(file.name), file) for file in path.parent.glob("*"))
    return [file for found, file in beside if found and found["stem"] == name["stem"]]


def _read(path: Path, use_map: bool) -> GgufPart:
    size = path.stat().st_size
    with naming(path):
        return GgufPart(path, read_header(path, size), FileData(path, size, use_map), size)


def _number(part: GgufPart, field: str) -> int:
    """A field of the header; 0 if it is not there or no number of parts or tensors."""
    text = part.header.metadata.get(field, "0")
    return int(text) if re.fullmatch(r"\d{1,9}", text) else 0


def _paths(path: Path, count: int) -> list[Path]:
    name = _PART_NAME.fullmatch(path.name)
    if name is None or int(name["count"]) != count or count > _MAX_PARTS:
        raise FileFault(
            f"is one of {count} parts of a split GGUF model, which are found by their names (such as "
            f"NAME-00001-of-{min(count, _MAX_PARTS):05d}.gguf)",
            "Give each part the name it was published under, or join them with llama-gguf-split --merge",
        )
    ending = path.suffix
    return [path.with_name(f"{name['stem']}-{number:05d}-of-{count:05d}{ending}") for number in range(1, count + 1)]


def _check_together(parts: tuple[GgufPart, ...], count: int) -> None:
    for place, part in enumerate(parts):
        with naming(part.path):
            _check_place(part, place, count)
    names = [name for part in parts for name in part.header.tensors]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    told = _number(parts[0], _TENSORS)
    if twice is not None or (told and told != len(names)):
        what = f"the tensor {shorten(twice)} is in two of them" if twice else f"{len(names):,} of {told:,} tensors"
        raise FileFault(
            f"do not belong together ({what})", "Download them again into an empty folder", f"its {count} parts"
        )


def _check_place(part: GgufPart, place: int, count: int) -> None:
    if _number(part, _COUNT) != count or _number(part, _NUMBER) != place:
        raise FileFault(
            f"is not part {place + 1} of {count} by its header: it was renamed, or is of another model",
            "Download the parts of the model again into an empty folder",
        )
