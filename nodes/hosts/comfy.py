"""ComfyUI as the host: its folders, its files and its own models.

Everything of ComfyUI beside its node interface (see `api`) is used here, in `comfy_runtime`, `comfy_progress`,
`residence` and `native`, and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Set
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import comfy.cli_args
import folder_paths

from ...common.log import logger
from ...media.faults import writing_to
from ...media.place import SavePlace, refuse_outside
from ...model_loading.publishing.known_files import LORAS
from ..files.model_names import model_name
from ..files.reading import FilesOnDisk, existing_place
from ..saving import NO_VALUES, NodeValues, file_prefix, result_in_subfolder
from ..sockets.models import WanModel
from .comfy_progress import say_in_node
from .comfy_runtime import ComfyRuntime
from .host import BUNDLED_CLIPS, BUNDLED_MODELS, LANGUAGE_MODELS, model_folder_names, or_example, with_examples


def register_bundled_models() -> None:
    """Adds the folders of the bundled demo model to ComfyUI's, so that its files appear in every list."""
    if LANGUAGE_MODELS not in folder_paths.folder_names_and_paths:  # the only one that ComfyUI has not by itself
        folder_paths.add_model_folder_path(LANGUAGE_MODELS, str(Path(folder_paths.models_dir, LANGUAGE_MODELS)))
    for kind in model_folder_names():
        folder_paths.add_model_folder_path(kind, str(BUNDLED_MODELS / kind))


def settle_in(folder: Path, ids: Collection[str]) -> None:
    """Says so where another copy of the pack has its nodes already, and lets the canvas find the help pages.

    Args:
        folder: the pack's, by the name that ComfyUI found it under.
        ids: of its nodes.
    """
    comfyui = import_module("nodes")  # by its name: to a reader of this file `nodes` is the pack's own folder
    known = comfyui.NODE_CLASS_MAPPINGS
    earlier = {known[id].RELATIVE_PYTHON_MODULE for id in ids if id in known}
    if earlier:
        logger.warning(
            "Wan Director is installed twice: as %s and as custom_nodes.%s. ComfyUI uses the second; remove one of the "
            "two folders and start it again.", ", ".join(sorted(earlier)), folder.name
        )  # fmt: skip
    # The canvas asks under the folder's name up to its first dot or @, ComfyUI serves under the whole name. web/ holds
    # no scripts, which the canvas would load twice.
    asked = re.split("[.@]", folder.name)[0]
    if quote(asked) != asked:
        logger.warning(
            "The help pages of Wan Director's nodes are not found: ComfyUI's server finds nothing in a folder with a "
            "space or a special character in its name, like '%s'. Rename it to wan-director.", folder.name
        )  # fmt: skip
    elif asked != folder.name:
        comfyui.EXTENSION_WEB_DIRS.setdefault(asked, str(folder / "web"))


class ComfyHost:
    """See `host.Host`."""

    def __init__(self) -> None:
        self.runtime = ComfyRuntime()
        self.files = FilesOnDisk()

    def model_files(self, kind: str) -> list[str]:
        # ComfyUI lists no GGUF files; to register their ending would put them before loaders that cannot read them.
        found = (folder_paths.recursive_search(str(folder), [".git"])[0] for folder in self.model_folders(kind))
        quantised = folder_paths.filter_files_extensions(set().union(*found), {".gguf"})
        return sorted({*folder_paths.get_filename_list(kind), *quantised})

    def model_folders(self, kind: str) -> list[Path]:
        return [Path(folder) for folder in folder_paths.get_folder_paths(kind)]

    def find_model(self, kind: str, name: str) -> Path | None:
        path = folder_paths.get_full_path(kind, model_name(name))
        return None if path is None else Path(path)

    def input_file(self, name: str) -> Path:
        path = Path(folder_paths.get_annotated_filepath(name))
        plain, folder = folder_paths.annotated_filepath(name)
        output = folder_paths.get_output_directory()
        if folder != output or os.path.isfile(path):
            return or_example(path, name)
        return result_in_subfolder(plain, Path(output)) or path

    def input_files(self, endings: Set[str]) -> list[str]:
        files = Path(folder_paths.get_input_directory()).iterdir()
        names = (file.name for file in files if file.suffix.lower() in endings and file.is_file())
        return with_examples(names, endings)

    def clips_place(self, name: str) -> Path:
        folders = (folder_paths.get_input_directory(), folder_paths.get_output_directory(), BUNDLED_CLIPS)
        return existing_place(name, [Path(folder) for folder in folders])

    def trained_folder(self) -> Path:
        return self.model_folders(LORAS.folder_name)[0]

    def own_folder(self) -> Path:
        return Path(folder_paths.get_user_directory(), "__wan_director")

    def output_folder(self) -> Path:
        return Path(folder_paths.get_output_directory())

    def save_place(self, prefix: str, width: int, height: int, values: NodeValues = NO_VALUES) -> SavePlace:
        output = folder_paths.get_output_directory()
        prefix = file_prefix(prefix, width, height, values)
        refuse_outside(prefix, Path(output))
        with writing_to(Path(output, prefix).parent):
            folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, width, height)
        return SavePlace(Path(folder), name, counter, subfolder)

    def preview_folder(self) -> Path | None:
        return Path(folder_paths.get_temp_directory())

    def saves_metadata(self) -> bool:
        return not comfy.cli_args.args.disable_metadata

    def show_text(self, text: str) -> None:
        say_in_node(text)

    def native_model(self, model: WanModel) -> Any:
        from .native.bridge import native_model  # ComfyUI's models, which no other node of ours needs

        return native_model(model)

    def from_native(self, model: Any) -> Any:
        from .native.taken import video_model_of  # as above

        return video_model_of(model, self.runtime)
