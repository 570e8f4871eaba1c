"""Where the commands look for models and input files, and where a download goes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ....model_loading.publishing.known_files import KnownFile
from ..model_paths import Folders, extra_model_paths, joined, models_in, models_of_comfyui

DEFAULT_MODELS = Path("models")


def model_folders(options: argparse.Namespace) -> Folders:
    """The folders of each kind, in the order of --models, --comfyui, --extra-model-paths; without them `models`.

    Raises:
        MissingFileError, InvalidInputError: one of them is not there, or not what it should be.
    """
    folders = []
    if options.models:
        folders.append(models_in(options.models))
    if options.comfyui:
        folders.append(models_of_comfyui(options.comfyui))
    if options.extra_model_paths:
        folders.append(extra_model_paths(options.extra_model_paths))
    if not folders and DEFAULT_MODELS.is_dir():
        folders.append(models_in(DEFAULT_MODELS))
    return joined(*folders)


def input_folders(options: argparse.Namespace) -> tuple[Path, ...]:
    """Where input files are looked for: here, beside the workflow, and in ComfyUI's input folder."""
    comfyui = (options.comfyui / "input",) if options.comfyui else ()
    return (Path("."), options.graph.parent, options.graph.parent / "input", *comfyui)


def download_folder(options: argparse.Namespace, file: KnownFile) -> Path:
    """Where a file goes, so that `run` with the same options finds it.

    Raises:
        MissingFileError, InvalidInputError: as `model_folders`.
    """
    kind = file.kind.folder_name
    if options.to:
        return options.to
    if options.comfyui:
        return models_of_comfyui(options.comfyui)[kind][0]
    if options.extra_model_paths:
        named = extra_model_paths(options.extra_model_paths)[kind]
        if named:
            return named[0]
    return (options.models or DEFAULT_MODELS) / kind
