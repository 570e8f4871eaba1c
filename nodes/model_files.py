"""Finding the model file that a dropdown names, and saying what is wrong with it before anything runs."""

from __future__ import annotations

from pathlib import Path

from ..common.errors import MissingFileError
from ..model_loading.build import model_key
from ..model_loading.checkpoint import open_checkpoint
from ..model_loading.detect import inspect_checkpoint
from ..model_loading.download import missing_file_sentence
from ..model_loading.known_files import known_file
from ..model_loading.spec import require_kind
from ..model_loading.vace_module import inspect_vace_module
from .host import host

KINDS = {"diffusion_models": "dit", "vae": "vae", "text_encoders": "text_encoder", "clip_vision": "clip_vision"}
"""Model folder -> what its files are called in `model_loading`."""


def find_model(kind: str, name: str) -> Path:
    """The path of the model called `name` in the folders of a kind (see `host.MODEL_KINDS`).

    Raises:
        MissingFileError: it is in none of them; the message says where to get it and where to put it.
    """
    path = host().find_model(kind, name)
    if path is not None:
        return path
    folders = host().model_folders(kind)
    # ComfyUI's first folder for diffusion models still has their old name, `unet`.
    folder = next((each for each in folders if each.name == kind), folders[0])
    raise MissingFileError(missing_file_sentence(name, KINDS[kind], [folder]))


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
    """The path of the LoRA called `name`.

    Raises:
        MissingFileError: it is in none of the folders; of a published one the message says where to get it.
    """
    path = host().find_model("loras", name)
    if path is None:
        folder = host().model_folders("loras")[0]
        if known_file(name):
            raise MissingFileError(missing_file_sentence(name, "lora", [folder]))
        raise MissingFileError(f"{name} is not in {folder}. Put the LoRA there, or choose another one.")
    return path


def fingerprint(kind: str, name: str) -> str:
    """Changes when the file does; a node with the same fingerprint is not run again."""
    path = host().find_model(kind, name)
    if path is None:
        return "missing"
    return f"{path} {model_key(path).stamp}"
