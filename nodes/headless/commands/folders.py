"""Where the commands look for models and input files, and where a download goes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ....model_loading.publishing.known_files import KnownFile
from ...upscaling.picture_model import UPSCALE_MODELS
from ..model_paths import Folders, extra_model_paths, joined, models_in, models_of_comfyui

DEFAULT_MODELS = Path("models")


def model_folders(options: argparse.Namespace, more: Sequence[str] = ()) -> Folders:
    """The folders of each kind, in the order of --models, --comfyui, --extra-model-paths; `models` for those
    that none of them names.

    Args:
        options: of the command.
        more: kinds beside those that the nodes load.

    Raises:
        MissingFileError, InvalidInputError: one of them is not there, or not what it should be.
    """
    more = (UPSCALE_MODELS, *more)
    folders = []
    if options.models:
        folders.append(models_in(options.models, more))
    if options.comfyui:
        folders.append(models_of_comfyui(options.comfyui, more))
    if options.extra_model_paths:
        folders.append(extra_model_paths(options.extra_model_paths, more))
    usual = models_in(DEFAULT_MODELS, more) if DEFAULT_MODELS.is_dir() else {}
    return {
        kind: found or usual.get(kind, []) for kind, found in joined(*folders, {kind: [] for kind in usual}).items()
    }


def input_folders(options: argparse.Namespace) -> tuple[Path, ...]:
    """Where input files are looked for: here, beside prompts and workflow, and in ComfyUI's input folder."""
    comfyui = (options.comfyui / "input",) if options.comfyui else ()
    prompts = vars(options).get("prompts")
    beside = (prompts.parent,) if prompts is not None else ()
    return (Path("."), *beside, options.graph.parent, options.graph.parent / "input", *comfyui)


def download_folder(options: argparse.Namespace, file: KnownFile) -> Path:
    """Where a file goes, so that `run` with the same options finds it.

    Raises:
        MissingFileError, InvalidInputError: as `model_folders`.
    """
    kind = file.kind.folder_name
    if vars(options).get("to"):
        return options.to
    if options.comfyui:
        return models_of_comfyui(options.comfyui, (kind,))[kind][0]
    if options.extra_model_paths:
        named = extra_model_paths(options.extra_model_paths, (kind,))[kind]
        if named:
            return named[0]
    return (options.models or DEFAULT_MODELS) / kind
