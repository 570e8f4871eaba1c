"""Opening a model file or folder: one object with names, shapes and lazily read tensors, whatever the file format."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from ..common.errors import CheckpointError, MissingFileError
from .files.checkpoint import Checkpoint, TensorInfo
from .files.file_type import describe_content, has_magic, human_bytes
from .files.gguf_file import GgufFile
from .files.gguf_parts import part_names
from .files.safetensors_file import MAX_TENSORS, SafetensorsFile
from .files.torch_file import TorchFile
from .recognition.spellings import respelled

_TORCH_ENDINGS = frozenset({".pth", ".pt", ".bin", ".ckpt"})
_MAX_INDEX_BYTES = 16_000_000
_MAX_SHARDS = 1000
_SHARD_NAME = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.safetensors")
_PART_NAME = re.compile(r"(?!\.{1,2}$)[^\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\\/:]{1,250}")
_INDEX_ENDING = ".index.json"
# What a diffusers folder holds beside weights; choosing the whole pipeline is a common mistake.
_PIPELINE_FILE = "model_index.json"


class ShardedCheckpoint:
    """Several .safetensors files that together are one model."""

    def __init__(self, path: Path, shards: tuple[SafetensorsFile, ...]) -> None:
        self.path = path
        self.shards = shards
        self.size_bytes = sum(shard.size_bytes for shard in shards)
        self.metadata = shards[0].metadata
        self.notes: tuple[str, ...] = ()
        self._shard_of = {key: shard for shard in shards for key in shard.tensors}
        count = sum(len(shard.tensors) for shard in shards)
        if len(self._shard_of) != count or count > MAX_TENSORS:
            raise CheckpointError(
                f"{path.name}: its {len(shards)} parts do not belong together ({count - len(self._shard_of)} tensors "
                "are in more than one of them). Download the model again into an empty folder."
            )
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(
            {key: shard.tensors[key] for key, shard in self._shard_of.items()}
        )

    def read(self, key: str) -> Tensor:
        """The tensor called `key`, in the file's dtype, on the CPU. Treat it as read-only."""
        return self._shard_of[key].read(key)

    def expect(self, key: str) -> None:
        """See `Checkpoint.expect`."""
        self._shard_of[key].expect(key)

    def release(self, key: str) -> None:
        """See `Checkpoint.release`."""
        self._shard_of[key].release(key)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Opens a model: a .safetensors, GGUF, .pth / .pt / .bin file, a folder of parts or its `.index.json`.

    Reads headers only (a PyTorch pickle is unpickled, with its data left on disk).

    Raises:
        MissingFileError: there is nothing at `path`, or a part of a split model is missing.
        CheckpointError: the file is damaged, unsafe or no model file; the message says what it is and what to do.
    """
    return respelled(_open(Path(path)))


def _open(path: Path) -> Checkpoint:
    """The file as it is."""
    if os.path.isdir(path):  # unlike the methods of Path, these take a name that no file can have
        return _open_folder(path)
    if not os.path.isfile(path):
        raise missing(path)
    if path.name.endswith(_INDEX_ENDING):
        return _open_index(path)
    if has_magic(path, b"GGUF"):
        return GgufFile(path)
    if path.suffix.lower() in _TORCH_ENDINGS:
        return TorchFile(path)
    if path.suffix.lower() not in (".safetensors", ".sft"):
        content = describe_content(path) or "of an unknown kind"
        raise CheckpointError(f"{path.name} is no model file (it is {content}). Use a .safetensors file.")
    shard = _SHARD_NAME.fullmatch(path.name)
    if shard is not None:
        return _open_parts_beside(path, shard)
    return SafetensorsFile(path)


def missing(path: str | Path) -> MissingFileError:
    """That a model is not there."""
    return MissingFileError(f"There is no file {path}. Check the name, or download the model there.")


def files_of(path: Path) -> list[Path]:
    """The files whose change changes the model at `path`: for a folder, an index or a part of a split model several."""
    if os.path.isdir(path):
        return sorted(file for file in path.iterdir() if file.is_file())
    if not (path.name.endswith(_INDEX_ENDING) or _SHARD_NAME.fullmatch(path.name)):
        return sorted({path, *part_names(path)})
    parts = (file for file in path.parent.glob("*.safetensors") if _SHARD_NAME.fullmatch(file.name))
    return sorted({path, *path.parent.glob("*" + _INDEX_ENDING), *parts})


def _open_folder(folder: Path) -> Checkpoint:
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    files = sorted(file for file in folder.glob("*.safetensors") if not _SHARD_NAME.fullmatch(file.name))
    if len(indexes) == 1 and not files:
        return _open_index(indexes[0])
    if len(files) == 1 and not indexes:
        return SafetensorsFile(files[0])
    if (folder / _PIPELINE_FILE).is_file():
        raise CheckpointError(
            f"{folder.name} is a whole diffusers pipeline: choose one of its folders (transformer, vae, text_encoder)."
        )
    if not indexes and not files:
        raise CheckpointError(f"The folder {folder.name} has no .safetensors file in it: choose a model file.")
    names = ", ".join(file.name for file in (*indexes, *files)[:5])
    raise CheckpointError(f"The folder {folder.name} holds several models ({names}): choose one of the files.")


def _open_index(index: Path) -> ShardedCheckpoint:
    if index.stat().st_size > _MAX_INDEX_BYTES:
        raise CheckpointError(
            f"{index.name} is {human_bytes(index.stat().st_size)}, far too much for an index of names."
        )
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{index.name} is not the index of a split model: download it again.") from None
    checkpoint = _open_parts(index, [_part_path(index, name) for name in names])
    lost = [key for key in weight_map if key not in checkpoint.tensors]
    if lost:
        raise CheckpointError(
            f"{index.name} lists {len(lost)} tensors that are in none of its parts (first: {lost[0]!r}): the parts are "
            "of another download; get them all again."
        )
    return checkpoint


def _part_path(index: Path, name: object) -> Path:
    """A part must lie beside its index: names that lead elsewhere, or are no file names at all, are refused."""
    if not isinstance(name, str) or name != Path(name).name or not _PART_NAME.fullmatch(name):
        raise CheckpointError(f"{index.name} names a part outside its folder ({str(name)[:80]!r}) and was refused.")
    return index.parent / name


def _open_parts_beside(part: Path, name: re.Match[str]) -> Checkpoint:
    """One part of a split model was chosen, whose name `_SHARD_NAME` matches: open the whole."""
    count = min(int(name["count"]), _MAX_SHARDS + 1)
    paths = [
        part.with_name(f"{name['stem']}-{number:05d}-of-{count:05d}.safetensors") for number in range(1, count + 1)
    ]
    return _open_parts(part, paths)


def _open_parts(path: Path, parts: list[Path]) -> ShardedCheckpoint:
    if not 1 <= len(parts) <= _MAX_SHARDS:
        raise CheckpointError(f"{path.name} names {len(parts)} parts or more: no model is split like this.")
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise MissingFileError(
            f"{path.name} needs {len(parts)} parts, {len(missing)} are missing (first: {missing[0]}). "
            f"Put them into {path.parent}."
        )
    return ShardedCheckpoint(path, tuple(SafetensorsFile(part) for part in parts))
