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
    """Where the weights of one model live, and where they go to compute."""

    device: torch.device

    def loaded(self, working_bytes: int = 0) -> AbstractContextManager[nn.Module]:
        """The model, with its weights on `device` inside the context; `working_bytes`: memory needed beside them."""


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
        return folder_paths.get_filename_list(kind)

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


class ComfyResidence:
    """A model that ComfyUI's memory manager loads, and unloads when another needs the room."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.device = device
        self._patcher = comfy.model_patcher.ModelPatcher(module, device, torch.device("cpu"))

    @contextlib.contextmanager
    def loaded(self, working_bytes: int = 0) -> Iterator[nn.Module]:
        comfy.model_management.load_models_gpu([self._patcher], memory_required=working_bytes, force_full_load=True)
        yield self._patcher.model
