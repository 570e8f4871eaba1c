"""ComfyUI as the host: its folders, its memory manager, its progress bar and its stop button.

Everything of ComfyUI beside its node interface (see `api`) is used here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path
from typing import Any, TypeVar

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import LatentPreviewMethod
from comfy.cli_args import args as comfy_args
from torch import Tensor, nn

from ...common.errors import InvalidInputError
from ...engine.runtime import LoadedModels, Work
from ...media.faults import writing_to
from ...media.place import SavePlace, refuse_outside
from ..files.model_names import model_name
from ..files.reading import FilesOnDisk
from ..saving.finding import result_in_subfolder
from ..saving.names import NO_VALUES, NodeValues, file_prefix
from ..sockets.models import WanModel
from .host import BUNDLED_MODELS, model_folder_names
from .residence import ComfyResidence

Result = TypeVar("Result")


M = TypeVar("M", bound=nn.Module)


def register_bundled_models() -> None:
    """Adds the folders of the bundled demo model to ComfyUI's, so that its files appear in every list."""
    for kind in model_folder_names():
        folder_paths.add_model_folder_path(kind, str(BUNDLED_MODELS / kind))


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
        return not comfy_args.disable_metadata

    def native_model(self, model: WanModel) -> Any:
        from .native.bridge import native_model  # ComfyUI's models, which no other node of ours needs

        return native_model(model)


class ComfyRuntime:
    """See `engine.runtime.Runtime`."""

    def __init__(self) -> None:
        self.models = LoadedModels()

    def perform(self, work: Work[Result]) -> Result:
        return work.run()

    def progress(self, total: int, title: str) -> ComfyProgress:
        return ComfyProgress(total)

    def wants_previews(self) -> bool:
        return comfy_args.preview_method != LatentPreviewMethod.NoPreviews

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
    """The bar on the running node, with a preview picture."""

    def __init__(self, total: int) -> None:
        self._bar = comfy.utils.ProgressBar(total)

    def update(self, step: int, preview: Tensor | None = None) -> None:
        picture = None
        if preview is not None:
            from PIL import Image

            pixels = (preview * 255).to(device="cpu", dtype=torch.uint8).numpy()
            picture = ("JPEG", Image.fromarray(pixels), comfy_args.preview_size)
        self._bar.update_absolute(step, preview=picture)
