"""ComfyUI as the host: its folders, its memory manager, its progress bar and its stop button.

Everything of ComfyUI beside its node interface (see `api`) is used here and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, Generic, TypeVar

import comfy.model_management
import comfy.model_patcher
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
from ...memory.policy import RESIDENT, MemoryPolicy, slot_bytes, swapped_blocks
from ...memory.residency import Weights
from ...memory.slabs import Slabs
from ..files.model_names import model_name
from ..files.reading import FilesOnDisk
from ..saving.finding import result_in_subfolder
from ..saving.names import NO_VALUES, NodeValues, file_prefix
from ..sockets.native_model import NativeModel
from .host import BUNDLED_MODELS, model_folder_names
from .native import video_model_of

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

    def from_native(self, model: Any) -> NativeModel:
        return video_model_of(model, self.runtime)


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


class ComfyWeights(comfy.model_patcher.ModelPatcher):
    """Our weights as ComfyUI's memory manager knows a model.

    It decides when they are loaded and unloaded, and counts only what is meant to be on the device. That happens our
    way: whole, and without copying back. For the dynamic offloading of newer versions this is an ordinary model: it
    pages only layers of its own kind, takes room for this one from the models it pages, and never touches the blocks
    that we swap.
    """

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self._weights = weights
        super().__init__(weights.module, device, torch.device("cpu"))

    def model_size(self) -> int:
        return self._weights.size_bytes()

    def loaded_size(self) -> int:
        return self._weights.loaded_bytes

    def current_loaded_device(self) -> torch.device:
        return self.load_device if self._weights.loaded_bytes else self.offload_device

    def partially_load(self, device_to: torch.device, *_hints: object, **_options: object) -> int:
        before = self._weights.loaded_bytes
        self._weights.load(device_to)
        return self._weights.loaded_bytes - before

    def partially_unload(self, *_hints: object, **_options: object) -> int:
        freed = self._weights.loaded_bytes
        self._weights.unload()
        return freed

    def detach(self, unpatch_all: bool = True) -> nn.Module:
        if unpatch_all:
            self._weights.unload()
        return self.model


class ComfyResidence(Generic[M]):
    """A model that ComfyUI's memory manager loads, and unloads when another needs the room."""

    def __init__(self, module: M, device: torch.device) -> None:
        self.device = device
        self.module = module
        self.slabs = Slabs()
        self._weights = Weights(module)
        self._patcher = ComfyWeights(self._weights, device)
        self._needed_bytes = 0

    @contextlib.contextmanager
    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> Iterator[M]:
        self._weights.leave_out(swapped_blocks(memory, self.module))
        self._needed_bytes = working_bytes + slot_bytes(memory, self.module, self.device)
        self._load()
        yield self.module

    def unload(self) -> None:
        self._weights.unload()

    def host_tensors(self) -> list[Tensor]:
        return self._weights.host_tensors()

    def reload(self) -> None:
        if not self._weights.is_loaded:
            self._load()

    def _load(self) -> None:
        comfy.model_management.load_models_gpu(
            [self._patcher], memory_required=self._needed_bytes, force_full_load=True
        )
