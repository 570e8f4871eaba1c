"""Finding the model file that a dropdown names, and saying what is wrong with it before anything runs."""

from __future__ import annotations

from pathlib import Path

from ..common.errors import InvalidInputError, MissingFileError
from ..model_loading.build import model_key
from ..model_loading.opening import open_checkpoint
from ..model_loading.publishing.known_files import FileKind
from ..model_loading.publishing.missing import missing_file_sentence
from ..model_loading.recognition.detect import inspect_checkpoint
from ..model_loading.spec import require_kind
from ..model_loading.vace_module import inspect_vace_module
from .hosts.host import BUNDLED_MODELS, host

KINDS: dict[str, FileKind] = {
    "diffusion_models": "dit",
    "vae": "vae",
    "text_encoders": "text_encoder",
    "clip_vision": "clip_vision",
    "loras": "lora",
}
"""Model folder -> what its files are called in `model_loading`."""


def find_model(kind: str, name: str) -> Path:
    """The path of the model called `name` in the folders of a kind (see `host.MODEL_KINDS`).

    Raises:
        InvalidInputError: it is no name of a file in them (see `model_names.model_name`).
        MissingFileError: it is in none of them; the message says where to get it and where to put it.
    """
    path = host().find_model(kind, name)
    if path is None:
        raise MissingFileError(missing_file_sentence(name, KINDS[kind], _places(kind), host().model_files(kind)))
    return path


def _places(kind: str) -> list[Path]:
    """The user's folders of a kind, that to put a file into first: none where only the bundled models are looked at."""
    folders = [folder for folder in host().model_folders(kind) if folder != BUNDLED_MODELS / kind]
    # ComfyUI's first folder for diffusion models still has their old name, `unet`.
    return sorted(folders, key=lambda folder: folder.name != kind)


def check_model(kind: str, name: str | None) -> None:
    """Refuses a file that this loader cannot load, by its header alone.

    `name` is None when it comes over a wire and is not known before the graph runs.

    Raises:
        MissingFileError: see `find_model`.
        CheckpointError: the file is damaged, no Wan model, or of another kind.
    """
    if name is not None:
        require_kind(inspect_checkpoint(open_checkpoint(find_model(kind, name)), KINDS[kind]), KINDS[kind])


def check_video_model(name: str | None, vace_module: str | None) -> None:
    """As `check_model` for a transformer and, if there is one, the VACE module for it; None as in `check_model`.

    Raises:
        MissingFileError, CheckpointError: see `check_model`.
        PairingError: the module does not belong onto the model.
    """
    if name is None:
        return
    spec = inspect_checkpoint(open_checkpoint(find_model("diffusion_models", name)), "dit")
    require_kind(spec, "dit")
    if vace_module is not None:
        inspect_vace_module(find_model("diffusion_models", vace_module), spec)


def find_lora(name: str) -> Path:
    """The path of the LoRA called `name`; errors as `find_model`."""
    return find_model("loras", name)


def fingerprint(kind: str, name: str) -> str:
    """Changes when the file does; a node with the same fingerprint is not run again."""
    try:
        path = host().find_model(kind, name)
    except InvalidInputError:
        return "missing"
    return "missing" if path is None else f"{path} {model_key(path).stamp}"
