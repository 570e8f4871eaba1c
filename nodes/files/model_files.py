"""Finding the model file that a dropdown names, and saying what is wrong with it before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...common.errors import InvalidInputError, MissingFileError
from ...model_loading.branch_module import ModuleKind, inspect_module
from ...model_loading.build import model_key
from ...model_loading.kinds import DIT
from ...model_loading.opening import open_checkpoint
from ...model_loading.publishing.known_files import LORAS
from ...model_loading.publishing.missing import missing_file_sentence
from ...model_loading.recognition.detect import inspect_as
from ...model_loading.spec import AnyKind
from ..hosts.host import BUNDLED_MODELS, host


class ModuleFile(NamedTuple):
    """A part of a transformer in a file of its own, as it travels between nodes: its kind, and what it is called."""

    kind: ModuleKind
    name: str

    @property
    def path(self) -> Path:
        """Where it lies; errors as `find_model`."""
        return find_model(self.kind.folder_name, self.name)


def find_model(folder: str, name: str) -> Path:
    """The path of the model called `name` in a model folder (see `host.model_folder_names`).

    Raises:
        InvalidInputError: it is no name of a file in them (see `model_names.model_name`).
        MissingFileError: it is in none of them; the message says where to get it and where to put it.
    """
    path = host().find_model(folder, name)
    if path is None:
        raise MissingFileError(missing_file_sentence(name, folder, _places(folder), host().model_files(folder)))
    return path


def _places(folder: str) -> list[Path]:
    """The user's places of a folder, that to put a file into first; none where only bundled models are looked at."""
    places = [place for place in host().model_folders(folder) if place != BUNDLED_MODELS / folder]
    # ComfyUI's first folder for diffusion models still has their old name, `unet`.
    return sorted(places, key=lambda place: place.name != folder)


def check_model(kind: AnyKind, name: str | None) -> None:
    """Refuses a file that this loader cannot load, by its header alone.

    `name` is None when it comes over a wire and is not known before the graph runs.

    Raises:
        MissingFileError: see `find_model`.
        CheckpointError: the file is damaged, no Wan model, or of another kind.
    """
    if name is not None:
        inspect_as(open_checkpoint(find_model(kind.folder_name, name)), kind)


def check_video_model(name: str | None, modules: Sequence[tuple[ModuleKind, str]]) -> None:
    """As `check_model` for a transformer and the modules for it, in order; None as in `check_model`.

    Raises:
        MissingFileError, CheckpointError: see `check_model`.
        PairingError: the module does not belong onto the model.
    """
    if name is None:
        return
    spec = inspect_as(open_checkpoint(find_model(DIT.folder_name, name)), DIT)
    for kind, module in modules:
        inspect_module(open_checkpoint(find_model(kind.folder_name, module)), kind, spec)


def find_lora(name: str) -> Path:
    """The path of the LoRA called `name`; errors as `find_model`."""
    return find_model(LORAS.folder_name, name)


def fingerprint(folder: str, name: str) -> str:
    """Changes when the file does; a node with the same fingerprint is not run again."""
    try:
        path = host().find_model(folder, name)
    except InvalidInputError:
        return "missing"
    return "missing" if path is None else f"{path} {model_key(path).stamp}"
