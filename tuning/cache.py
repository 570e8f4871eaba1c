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
    name = digest(key)
    path = folder / f"{name}.safetensors"
    try:
        return read(path, name)["tensor"]
    except (OSError, Unusable):
        tensor = make().contiguous()
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write(path, {"tensor": tensor}, name)
    return tensor
