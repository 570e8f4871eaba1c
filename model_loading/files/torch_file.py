"""Reading PyTorch's own .pth / .pt / .bin files, which are Python pickles, without ever running code from them."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ...common.errors import FileFault
from .checkpoint import TORCH_DTYPES, TensorInfo
from .faults import naming
from .file_type import describe_content, has_magic, human_bytes
from .safetensors_file import MAX_TENSORS

# Before 2.6 `weights_only=True` could be bypassed (CVE-2025-32434).
_SAFE_TORCH = (2, 6)
_MAX_PICKLE_BYTES = 4_000_000  # the pickle of 20,000 tensors
_NAMES = MappingProxyType({dtype: name for name, dtype in TORCH_DTYPES.items()})
# Wrappers that training code puts around the weights.
_NESTS = ("state_dict", "model_state_dict", "model", "module")
# All that a table of plain tensors needs. torch's own list is longer, and `bytearray` or `FloatTensor` on it let a
# file of 1 kB ask for any amount of memory.
_PLAIN_GLOBAL = re.compile(
    r"collections OrderedDict|torch Size|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter)|torch \w+Storage"
    r"|torch\.storage (Untyped|Typed)Storage|torch (bfloat16|float16|float32|float64|float8_\w+|u?int\d+|bool)"
)
# torch writes tensors of the younger number formats (fp8, uint16 to uint64) with this, and cannot read them back from
# a file of the old form, because it asks the bytes in it for their dtype (torch 2.13).
_YOUNG_TENSOR = "torch._utils _rebuild_tensor_v3"
_LEGACY_PICKLES = 4  # magic number, version, system, content


class TorchFile:
    """One .pth, .pt or .bin file of plain weights.

    Raises:
        CheckpointError: the file is damaged, holds more than plain weights, or this torch cannot read it safely.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = path.stat().st_size
        self.notes: tuple[str, ...] = ()
        self.metadata: MappingProxyType[str, str] = MappingProxyType({})
        with naming(path):
            self._weights = _read_weights(path, self.size_bytes)
        self.tensors: MappingProxyType[str, TensorInfo] = MappingProxyType({
            name: TensorInfo(_NAMES[weight.dtype], tuple(weight.shape)) for name, weight in self._weights.items()
        })  # fmt: skip

    def read(self, key: str) -> Tensor:
        """The tensor called `key`, in the file's dtype, on the CPU. Treat it as read-only."""
        return self._weights[key]

    def expect(self, key: str) -> None:
        """See `Checkpoint.expect`; torch does not tell where in these files a tensor lies."""

    def release(self, key: str) -> None:
        """See `Checkpoint.release`; torch owns the map of these files, and it stays."""


def _read_weights(path: Path, size: int) -> dict[str, Tensor]:
    """The tensors of a file that has been looked through before anything of it is unpickled."""
    _require_safe_torch()
    is_zip = has_magic(path, b"PK\x03\x04")
    if is_zip:
        _check_globals(_pickles_of_archive(path, size))
    elif has_magic(path, b"\x80"):
        if _YOUNG_TENSOR in _check_globals(_pickles_of_legacy_file(path)):
            raise FileFault(
                "holds fp8 or unsigned numbers in PyTorch's old form of files, which torch writes but cannot read",
                "Use the .safetensors version of this model, or save it again in the usual (zip) form",
            )
    else:
        content = describe_content(path) or "not a PyTorch file, and nothing else we know: download it again"
        raise FileFault(f"is {content}", advice="")
    weights = _plain_tensors(_load(path, memory_map=is_zip))
    _check_claims(weights, size)
    return weights


def _require_safe_torch() -> None:
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < _SAFE_TORCH:
        raise FileFault(
            f"is a PyTorch pickle, which torch {torch.__version__} cannot open safely",
            "Use the .safetensors version of this model, or torch 2.6 or newer",
        )


def _pickles_of_archive(path: Path, size: int) -> list[io.BytesIO]:
    """The pickles in a new-format file; refuses archives that are truncated or unpack to more than they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, size)
            return [io.BytesIO(archive.read(entry)) for entry in entries if entry.filename.endswith(".pkl")]
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OSError):
        raise FileFault(f"is incomplete or damaged ({human_bytes(size)})") from None


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    unpacked = sum(entry.file_size for entry in entries)
    pickled = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if unpacked > size or compressed or len(entries) > 2 * MAX_TENSORS or pickled > _MAX_PICKLE_BYTES:
        raise FileFault(
            f"is not a PyTorch weights file: it would unpack {len(entries):,} parts to {human_bytes(unpacked)} from "
            f"{human_bytes(size)}",
            "Download the model from its own page",
        )


def _pickles_of_legacy_file(path: Path) -> list[io.BytesIO]:
    """The pickles at the start of an old-format file, one after another in the same bytes."""
    with path.open("rb") as file:
        data = io.BytesIO(file.read(_MAX_PICKLE_BYTES))
    return [data] * _LEGACY_PICKLES


def _check_globals(pickles: list[io.BytesIO]) -> set[str]:
    """Reads which Python names a file asks for, without running it, and refuses all but those of plain tensors."""
    names = set()
    try:
        for opcode, argument, _ in chain.from_iterable(pickletools.genops(data) for data in pickles):
            is_name = opcode.name in ("GLOBAL", "INST")
            name = str(argument)
            if is_name and not _PLAIN_GLOBAL.fullmatch(name):
                raise _refused(f"code ({name.replace(' ', '.')[:80]})")
            if is_name:
                names.add(name)
            if opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
                raise _refused("more than plain weights")
    except (ValueError, OverflowError, MemoryError):
        raise FileFault("is incomplete or damaged") from None
    return names


def _refused(what: str) -> FileFault:
    return FileFault(
        f"contains {what} and was refused: nothing of it was run",
        "Use the .safetensors version of this model, or convert the file where you trust it",
    )


def _load(path: Path, memory_map: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=memory_map)
    except pickle.UnpicklingError:
        raise _refused("more than plain weights") from None
    except Exception as error:  # a border: hostile or cut bytes make the unpickler raise nearly anything
        reason = str(error).strip().splitlines()[0][:150] if str(error).strip() else type(error).__name__
        raise FileFault(f"is incomplete or damaged ({reason})") from None


def _plain_tensors(content: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, unwrapped from the usual nests; anything else is left out.

    A file that holds tables of weights instead, as training code keeps its several models, has the tables' names in
    front of the weights'.
    """
    for nest in _NESTS:
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
    if not isinstance(content, dict):
        raise FileFault(f"holds a {type(content).__name__} instead of a table of weights", "choose a model file")
    weights = _tensors(content) or _nested_tensors(content)
    strange = next((name for name, value in weights.items() if value.dtype not in _NAMES), None)
    if not weights or len(weights) > MAX_TENSORS or strange is not None:
        what = f"tensor {strange!r} of {weights[strange].dtype}" if strange is not None else f"{len(weights):,} tensors"
        raise FileFault(f"holds {what}, which no Wan model has", "choose a model file")
    return weights


def _tensors(table: dict[Any, Any]) -> dict[str, Tensor]:
    """The tensors of one table; the exponents of mxfp8 as bytes, see `TORCH_DTYPES`."""
    found = {str(name): value.detach() for name, value in table.items() if isinstance(value, Tensor)}
    exponents = getattr(torch, "float8_e8m0fnu", None)
    return {name: value.view(torch.uint8) if value.dtype == exponents else value for name, value in found.items()}


def _nested_tensors(table: dict[Any, Any], depth: int = 0) -> dict[str, Tensor]:
    """The tensors of all tables in a table that have names, up to two levels down."""
    weights: dict[str, Tensor] = {}
    for name, inner in table.items():
        if not isinstance(name, str) or not isinstance(inner, dict):
            continue
        found = _tensors(inner) or (_nested_tensors(inner, depth + 1) if depth < 1 else {})
        weights |= {f"{name}.{key}": value for key, value in found.items()}
    return weights


def _check_claims(weights: dict[str, Tensor], size: int) -> None:
    """A few bytes in the file can claim gigabytes (expanded or overlapping tensors): refuse before anyone copies them.

    The same tensor under two names (tied weights) counts once.
    """
    views = {(w.untyped_storage().data_ptr(), w.storage_offset(), w.shape, w.stride()): w for w in weights.values()}
    claimed = sum(view.numel() * view.element_size() for view in views.values())
    if claimed > size:
        raise FileFault(
            f"claims {human_bytes(claimed)} of weights in a file of {human_bytes(size)} and was refused",
            "Download the model from its own page",
        )
