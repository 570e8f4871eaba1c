"""ComfyUI as the host: its folders, its memory manager, its progress bar and its stop button.

Everything of ComfyUI beside its node interface (see `api`) is used here and nowhere else.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Set
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import comfy.cli_args
import comfy.model_management
import comfy.utils
import folder_paths
import torch
from torch import Tensor, nn

from ...common.errors import InvalidInputError
from ...common.log import logger
from ...engine.progress import Counted, Often, Pace
from ...engine.runtime import LoadedModels, Work
from ...media.faults import writing_to
from ...media.place import SavePlace, refuse_outside
from ..files.model_names import model_name
from ..files.reading import FilesOnDisk
from ..saving import NO_VALUES, NodeValues, file_prefix, result_in_subfolder
from ..sockets.models import WanModel
from .host import BUNDLED_MODELS, model_folder_names
from .kept_runs import kept_runs_or_none
from .residence import ComfyResidence

Result = TypeVar("Result")


M = TypeVar("M", bound=nn.Module)

WORDS_AFTER_S = 1.0
"""Words make the node grow, which work that ends sooner is spared."""


def register_bundled_models() -> None:
    """Adds the folders of the bundled demo model to ComfyUI's, so that its files appear in every list."""
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
            return path
        return result_in_subfolder(plain, Path(output)) or path

    def input_files(self, endings: Set[str]) -> list[str]:
        files = Path(folder_paths.get_input_directory()).iterdir()
        return sorted(file.name for file in files if file.suffix.lower() in endings and file.is_file())

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

    def native_model(self, model: WanModel) -> Any:
        from .native.bridge import native_model  # ComfyUI's models, which no other node of ours needs

        return native_model(model)

    def from_native(self, model: Any) -> Any:
        from .native.taken import video_model_of  # as above

        return video_model_of(model, self.runtime)


class ComfyRuntime:
    """See `engine.runtime.Runtime`."""

    def __init__(self) -> None:
        self.models = LoadedModels()
        # ComfyUI does not empty this folder when it starts, and serves nothing under such a name.
        self.kept_runs = kept_runs_or_none(Path(folder_paths.get_user_directory(), "__wan_director", "runs"))

    def perform(self, work: Work[Result]) -> Result:
        return work.run()

    def progress(self, counted: Counted) -> ComfyProgress:
        return ComfyProgress(counted)

    def wants_previews(self) -> bool:
        return comfy.cli_args.args.preview_method != comfy.cli_args.LatentPreviewMethod.NoPreviews

    def check_interrupt(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()

    def device(self, kind: str, choice: str = "auto") -> torch.device:
        manager = comfy.model_management
        gpu = manager.get_torch_device()
        if choice == "cpu":
            return torch.device("cpu")
        if choice == "gpu":
            if gpu.type == "cpu":
                raise InvalidInputError("Device 'gpu' was chosen, but ComfyUI runs on the CPU. Choose 'auto' or 'cpu'.")
            return gpu
        return {
            "vae": manager.vae_device,
            "text_encoder": manager.text_encoder_device,
            "clip_vision": manager.text_encoder_device,
        }.get(kind, manager.get_torch_device)()

    def residence(self, module: M, device: torch.device) -> ComfyResidence[M]:
        return ComfyResidence(module, device)

    def free_bytes(self, device: torch.device) -> int:
        return int(comfy.model_management.get_free_memory(device))

    def available_bytes(self, device: torch.device) -> int:
        models = (model for model in comfy.model_management.current_loaded_models if model.model is not None)
        return self.free_bytes(device) + sum(int(m.model_loaded_memory()) for m in models if m.device == device)

    def free_memory(self, device: torch.device) -> None:
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()


class ComfyProgress:
    """The bar on the running node with a preview picture, and words below its widgets.

    Only the canvas that started the run has the words: on another, the node of that number is another one.
    """

    def __init__(self, counted: Counted) -> None:
        self._total = counted.total
        self._bar = comfy.utils.ProgressBar(counted.total)
        self._pace = Pace(counted)
        self._often = Often()
        self._has_words = False
        self._server = _running_server()
        self._node_id = None if self._server is None else self._server.last_node_id
        if counted.before:
            self._bar.update_absolute(counted.before)

    def __enter__(self) -> ComfyProgress:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._has_words:
            self._say(self._pace.ended())

    def update(self, done: int, preview: Tensor | None = None) -> None:
        self._pace.reach(done)
        if preview is not None or done >= self._total or self._often.passes():
            self._bar.update_absolute(done, preview=None if preview is None else _picture(preview))
        self._tell()

    def note(self, text: str) -> None:
        self._pace.note(text)
        self._tell()

    def _tell(self) -> None:
        if self._pace.is_due(WORDS_AFTER_S):
            self._has_words = True
            self._say(self._pace.words())

    def _say(self, words: str) -> None:
        server = self._server
        if server is not None and server.client_id is not None and self._node_id is not None:
            server.send_progress_text(words, self._node_id, server.client_id)


def _running_server() -> Any:
    """ComfyUI's server; None where it runs no server, and has not loaded its module."""
    module = sys.modules.get("server")
    return None if module is None else getattr(module.PromptServer, "instance", None)


def _picture(preview: Tensor) -> tuple[str, Any, int]:
    from PIL import Image

    pixels = (preview * 255).to(device="cpu", dtype=torch.uint8).numpy()
    return "JPEG", Image.fromarray(pixels), comfy.cli_args.args.preview_size
