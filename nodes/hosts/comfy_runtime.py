"""ComfyUI as what the engine runs on: its memory manager, its stop button, and the previews that its user wants."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import comfy.cli_args
import comfy.model_management
import folder_paths
import torch
from torch import nn

from ...common.errors import InvalidInputError
from ...common.families import Family
from ...common.log import logger
from ...dit.sharing import ONE_DEVICE, Sharing
from ...engine.previews.moving import PreviewWish
from ...engine.progress import Counted, Whereabouts
from ...engine.runtime import LoadedModels, Request, Work
from ...engine.sharing.places import Crews
from ...model_loading.kinds import PREVIEW_DECODER
from ...model_loading.publishing.known_files import where_to_get
from .comfy_progress import ComfyProgress
from .kept_runs import kept_films_or_none, kept_runs_or_none
from .residence import ComfyResidence

if TYPE_CHECKING:
    from ...engine.sharing.crew import Crew
    from .comfy_crew import CrewPlaces

Result = TypeVar("Result")
M = TypeVar("M", bound=nn.Module)


class ComfyRuntime:
    """See `engine.runtime.Runtime`."""

    def __init__(self) -> None:
        self.models = LoadedModels()
        # ComfyUI does not empty this folder when it starts, and serves nothing under such a name.
        folder = Path(folder_paths.get_user_directory(), "__wan_director", "runs")
        self.kept_runs = kept_runs_or_none(folder)
        self.kept_films = kept_films_or_none(folder)
        self.sharing = ONE_DEVICE
        self._crews = Crews(self._keep)
        self._crew_places: CrewPlaces | None = None
        self._where = Whereabouts()

    def perform(self, work: Work[Result]) -> Result:
        return work.run()

    def check_gpus(self, count: int, device: torch.device) -> None:
        self._crews.check(count, device)

    def shared(self, request: Request, count: int, device: torch.device) -> AbstractContextManager[Sharing]:
        self.check_gpus(count, device)
        return self._crews.sharing(request, count, device, self)

    def progress(self, counted: Counted) -> ComfyProgress:
        return ComfyProgress(self._where.told(counted))

    def at(self, words: str) -> AbstractContextManager[None]:
        return self._where.at(words)

    def preview_wish(self, family: Family) -> PreviewWish | None:
        chosen, methods = comfy.cli_args.args.preview_method, comfy.cli_args.LatentPreviewMethod
        if chosen == methods.NoPreviews:
            return None
        decoder = None if chosen == methods.Latent2RGB else _preview_decoder(family, must_be=chosen == methods.TAESD)
        return PreviewWish(comfy.cli_args.args.preview_size, decoder)

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
            "audio_encoder": manager.text_encoder_device,
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

    def _keep(self, crew: Crew) -> None:
        from .comfy_crew import CrewPlaces  # what it brings in one device never needs

        if self._crew_places is None:
            self._crew_places = CrewPlaces(self._crews.end)
        self._crew_places.keep(crew)


def _preview_decoder(family: Family, *, must_be: bool) -> Path | None:
    """The file of the preview decoder of a family; `must_be`: whether to say so where there is none."""
    folder = PREVIEW_DECODER.folder_name
    names = folder_paths.get_filename_list(folder)
    for start in family.preview_files:
        for name in names:
            if Path(name).name.startswith(start):
                return Path(folder_paths.get_full_path_or_raise(folder, name))
    if must_be and family.preview_files:
        logger.warning(
            "Previews are to be sharp, and %s has no preview decoder for %s: they are blurred. Get %s.",
            PREVIEW_DECODER.folder, family.title, where_to_get(f"{family.preview_files[0]}.safetensors"),
        )  # fmt: skip
    return None
