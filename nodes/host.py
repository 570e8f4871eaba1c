"""Who runs us: a ComfyUI server or the command line. Paths, devices, progress and interruption come from here.

Nodes ask `host()`; everything of ComfyUI beside its node interface (see `api`) is behind `ComfyHost`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..common.errors import InvalidInputError, OutputError
from ..memory.policy import RESIDENT, MemoryPolicy, slot_bytes, swapped_blocks
from ..memory.residency import Weights
from ..memory.slabs import Slabs
from .api import HOSTED

if HOSTED:
    import comfy.model_management
    import comfy.model_patcher
    import comfy.utils
    import folder_paths
    from comfy.cli_args import LatentPreviewMethod
    from comfy.cli_args import args as comfy_args

PACK_FOLDER = Path(__file__).resolve().parent.parent
BUNDLED_MODELS = PACK_FOLDER / "models"

MODEL_KINDS = ("diffusion_models", "vae", "text_encoders", "clip_vision", "loras")
"""Names of the model folders, the same in ComfyUI, headless and in the bundled `models/` (which has no `loras`)."""


class SavePlace(NamedTuple):
    """Where the next file of a name goes: `folder / f"{name}_{counter:05}_.ext"`.

    `subfolder` leads from the host's output folder to `folder`, with forward slashes.
    """

    folder: Path
    name: str
    counter: int
    subfolder: str

    def subfolder_of(self, file: Path) -> str:
        """The way from the output folder to the folder of a file in `folder` or below."""
        way = (Path(self.subfolder) / file.parent.relative_to(self.folder)).as_posix()
        return "" if way == "." else way


def refuse_outside(prefix: str, output: Path) -> None:
    """Refuses a file name that leads out of the output folder.

    Raises:
        InvalidInputError: it does.
    """
    if not (output / prefix).resolve().is_relative_to(output.resolve()):
        raise InvalidInputError(
            f"The file name '{prefix}' leads out of the output folder {output}. Use a name inside it."
        )


class Progress(Protocol):
    """A bar that counts the steps of one node."""

    def update(self, step: int, preview: Tensor | None = None) -> None:
        """`step` steps are done; `preview`: [h, w, 3] in 0..1, a small picture of the state."""


class Residence(Protocol):
    """Where the weights of one model live, and where they go to compute.

    Attributes:
        device: to compute on.
        module: the model, wherever its weights are.
        slabs: host memory from which blocks are swapped in (see `memory.policy`), kept as long as the model.
    """

    device: torch.device
    module: nn.Module
    slabs: Slabs

    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> AbstractContextManager[nn.Module]:
        """The model, with its weights on `device` inside the context, but for the blocks that `memory` swaps.

        Args:
            working_bytes: memory needed beside the weights; room for the slots of swapped blocks is asked for too.
            memory: which blocks stay on the CPU; its `streaming` then brings them in.
        """

    def unloaded(self) -> AbstractContextManager[nn.Module]:
        """The model with all its weights on the CPU, to compute there."""

    def reload(self) -> None:
        """Inside `loaded`: brings back the weights if the host has unloaded them in between; free when it has not."""


class Host(Protocol):
    """What the nodes need from whoever runs them."""

    def model_files(self, kind: str) -> list[str]:
        """Names of the files in the folders of a kind (see MODEL_KINDS), sorted, as the dropdowns show them."""

    def model_folders(self, kind: str) -> list[Path]:
        """The folders of a kind, the user's first, the bundled one last."""

    def find_model(self, kind: str, name: str) -> Path | None:
        """Where the model called `name` lies in the folders of a kind; None when it is in none."""

    def input_file(self, name: str) -> Path:
        """Where the input file called `name` lies; it may not exist."""

    def save_place(self, prefix: str, width: int, height: int) -> SavePlace:
        """The next free name in the output folder; `prefix` may name a subfolder."""

    def preview_folder(self) -> Path | None:
        """Where pictures lie that only the canvas shows; None where there is no canvas."""

    def progress(self, total: int, title: str) -> Progress:
        """A new bar of `total` steps for the node that runs now."""

    def wants_previews(self) -> bool:
        """Whether `Progress.update` shows its preview to anyone."""

    def check_interrupt(self) -> None:
        """Raises when the user asked to stop; called between blocks and frames."""

    def device(self, kind: str, choice: str = "auto") -> torch.device:
        """Where a model of a kind (see MODEL_KINDS) computes; choice: auto, cpu or gpu."""

    def residence(self, module: nn.Module, device: torch.device) -> Residence:
        """Looks after the weights of `module`, which is on the CPU now and will compute on `device`."""

    def saves_metadata(self) -> bool:
        """Whether saved files carry the workflow."""

    def free_bytes(self, device: torch.device) -> int | None:
        """Memory of a device that is free now; None where that cannot be asked."""

    def available_bytes(self, device: torch.device) -> int | None:
        """As `free_bytes`, with what models take that can be unloaded."""

    def free_memory(self, device: torch.device) -> None:
        """Takes from a device what nothing uses now: models that do not run, and torch's cache."""


_current: Host | None = None


def host() -> Host:
    """The host of this process."""
    global _current
    if _current is None:
        _current = _make_host()
    return _current


def use_host(new: Host) -> None:
    """Makes `new` the host of this process (the command line does, and tests)."""
    global _current
    _current = new


def _make_host() -> Host:
    if HOSTED:
        return ComfyHost()
    from .headless.host import HeadlessHost

    return HeadlessHost()


def interrupt_hook() -> Callable[[int], None]:
    """A hook for the transformer's blocks that stops the run when the user asked to."""
    current = host()
    return lambda _block: current.check_interrupt()


def register_bundled_models() -> None:
    """Adds the folders of the bundled demo model to ComfyUI's, so that its files appear in every list."""
    for kind in MODEL_KINDS if HOSTED else ():
        folder_paths.add_model_folder_path(kind, str(BUNDLED_MODELS / kind))


class ComfyHost:
    """See `host.Host`."""

    def model_files(self, kind: str) -> list[str]:
        # ComfyUI lists no GGUF files; to register their ending would put them before loaders that cannot read them.
        found = (folder_paths.recursive_search(str(folder), [".git"])[0] for folder in self.model_folders(kind))
        quantised = folder_paths.filter_files_extensions(set().union(*found), {".gguf"})
        return sorted({*folder_paths.get_filename_list(kind), *quantised})

    def model_folders(self, kind: str) -> list[Path]:
        return [Path(folder) for folder in folder_paths.get_folder_paths(kind)]

    def find_model(self, kind: str, name: str) -> Path | None:
        path = folder_paths.get_full_path(kind, name)
        return None if path is None else Path(path)

    def input_file(self, name: str) -> Path:
        return Path(folder_paths.get_annotated_filepath(name))

    def save_place(self, prefix: str, width: int, height: int) -> SavePlace:
        output = folder_paths.get_output_directory()
        refuse_outside(prefix, Path(output))
        try:
            folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, width, height)
        except OSError as error:
            raise OutputError(
                f"The folder for '{prefix}' in {output} cannot be made: {error.strerror}. Allow writing there, or "
                "choose another output folder."
            ) from None
        return SavePlace(Path(folder), name, counter, subfolder)

    def preview_folder(self) -> Path | None:
        return Path(folder_paths.get_temp_directory())

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
            "diffusion_models": manager.get_torch_device,
            "vae": manager.vae_device,
            "text_encoders": manager.text_encoder_device,
            "clip_vision": manager.text_encoder_device,
        }[kind]()

    def residence(self, module: nn.Module, device: torch.device) -> ComfyResidence:
        return ComfyResidence(module, device)

    def saves_metadata(self) -> bool:
        return not comfy_args.disable_metadata

    def free_bytes(self, device: torch.device) -> int | None:
        return int(comfy.model_management.get_free_memory(device))

    def available_bytes(self, device: torch.device) -> int | None:
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


class ComfyWeights(comfy.model_patcher.ModelPatcher if HOSTED else object):
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


class ComfyResidence:
    """A model that ComfyUI's memory manager loads, and unloads when another needs the room."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.device = device
        self.module = module
        self.slabs = Slabs()
        self._weights = Weights(module)
        self._patcher = ComfyWeights(self._weights, device)
        self._needed_bytes = 0

    @contextlib.contextmanager
    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> Iterator[nn.Module]:
        self._weights.leave_out(swapped_blocks(memory, self.module))
        self._needed_bytes = working_bytes + slot_bytes(memory, self.module, self.device)
        self._load()
        yield self.module

    @contextlib.contextmanager
    def unloaded(self) -> Iterator[nn.Module]:
        self._weights.unload()
        yield self.module

    def reload(self) -> None:
        if not self._weights.is_loaded:
            self._load()

    def _load(self) -> None:
        comfy.model_management.load_models_gpu(
            [self._patcher], memory_required=self._needed_bytes, force_full_load=True
        )
