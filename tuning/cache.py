"""Latents and texts on disk, by what they were made of, so that encoders run once for all trainings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..engine.resuming.digest import digest
from ..engine.resuming.state_file import Unusable, read, write
from ..media.faults import writing_to


def kept(folder: Path, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
    """The tensor of a key: what `make` gives, or gave before.

    Args:
        key: all that it depends on: contents of files, models, sizes.

    Raises:
        OutputError: it cannot be written.
    """
    found = kept_already(folder, key)
    if found is not None:
        return found
    tensor, name = make().contiguous(), digest(key)
    path = _path(folder, name)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write(path, {"tensor": tensor}, name)
    return tensor


def kept_already(folder: Path, key: tuple[object, ...]) -> Tensor | None:
    """The tensor of a key, where there is one; see `kept`."""
    name = digest(key)
    try:
        return read(_path(folder, name), name)["tensor"]
    except (OSError, Unusable):
        return None


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"
