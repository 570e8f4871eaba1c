"""ComfyUI's Wan models around our transformer: theirs is what conditioning means, ours are the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.model_base  # pyright: ignore[reportMissingImports]
import comfy.model_detection  # pyright: ignore[reportMissingImports]
import comfy.supported_models  # pyright: ignore[reportMissingImports]
import torch

from ....common.errors import InvalidInputError, PairingError
from ....common.shapes import LatentShape
from ....dit.branches.vace import VaceBranch
from ....dit.config import DiTConfig
from ....engine.models import VideoModel
from ....engine.sampling.task import sampling_task
from ....memory.residency import Weights
from ....model_loading.footprint import ModelBytes
from .transformer import NativeTransformer

_CONTROLS = "vace_context"


class BridgedModel(comfy.model_base.BaseModel):
    """The part of all of them: what a pass takes beside the weights, and whose weights they are.

    Attributes:
        weights: where the transformer's are.
        bytes_of_weights: what they take.
        file: the name of their file, for messages.
    """

    weights: Weights
    bytes_of_weights: ModelBytes
    file: str

    def memory_required(
        self, input_shape: Sequence[int], cond_shapes: Mapping[str, Sequence[Sequence[int]]] | None = None
    ) -> int:
        """Bytes beside the weights of one pass for latents of this shape [B, C, T, h, w]."""
        if len(input_shape) != 5:
            return 0  # latents packed into one row, which no Wan model takes
        controls = [shape[1] for shape in (cond_shapes or {}).get(_CONTROLS, ())]
        config = self.diffusion_model.config
        return working_bytes(self.bytes_of_weights, config, input_shape, max(controls, default=1))

    def extra_conds_shapes(self, **conditioning: Any) -> dict[str, list[int]]:
        """How many control videos there are, as the shape of them stacked."""
        controls = conditioning.get("vace_frames")
        return {_CONTROLS: [1, len(controls)]} if controls else {}

    def state_dict_for_saving(self, *_parts: Any, **_more: Any) -> dict[str, Any]:
        raise InvalidInputError(
            f"The model of Wan To Native Model cannot be saved as a file: its weights are those of {self.file}, "
            "as that file stores them. Copy the file, or load it with Load Diffusion Model to save it."
        )


class BridgedWan(BridgedModel, comfy.model_base.WAN21):
    """Text and image to video of Wan 2.1, and the experts of Wan 2.2."""


class BridgedVace(BridgedModel, comfy.model_base.WAN21_Vace):
    """VACE."""


class BridgedWan22(BridgedModel, comfy.model_base.WAN22):
    """TI2V-5B."""


_KINDS: dict[type, tuple[type[BridgedModel], bool]] = {
    comfy.supported_models.WAN21_T2V: (BridgedWan, False),
    comfy.supported_models.WAN21_I2V: (BridgedWan, True),
    comfy.supported_models.WAN21_Vace: (BridgedVace, False),
    comfy.supported_models.WAN22_T2V: (BridgedWan22, True),
}
"""What ComfyUI takes a file for -> our class, and whether it is one for pictures there."""


def bridged_model(video: VideoModel, weights: Weights) -> BridgedModel:
    """The native model of a transformer, without its LoRAs.

    Raises:
        PairingError: ComfyUI would take it for a model of another kind.
    """
    shapes = {name: torch.empty(shape, device="meta") for name, shape in video.shapes.shapes.items()}
    config = comfy.model_detection.model_config_from_unet(shapes, "")
    if type(config) not in _KINDS:
        raise PairingError(
            f"ComfyUI knows {video.file} ({video.spec.title}) as {type(config).__name__}, and Wan To Native Model "
            "makes text-to-video, image-to-video, VACE and TI2V-5B models. Use it with Wan Sampler."
        )
    kind, takes_pictures = _KINDS[type(config)]
    config.unet_config["disable_unet_model_creation"] = True
    # Latents and conditioning come in float32, as to our own sampler, whatever the matrices are multiplied in.
    config.set_inference_dtype(video.dtype, torch.float32)
    model = kind(config, image_to_video=takes_pictures, device=torch.device("cpu"))
    model.diffusion_model = NativeTransformer(video.residence.module)
    model.weights, model.bytes_of_weights, model.file = weights, video.placed.weights, video.file
    return model.eval().requires_grad_(False)


def working_bytes(weights: ModelBytes, config: DiTConfig, shape: Sequence[int], controls: int) -> int:
    """Bytes beside the weights of a pass for latents [B, C, T, h, w] that `controls` control videos steer."""
    batch, channels, frames, height, width = shape
    steering = {VaceBranch: controls} if config.branch(VaceBranch) is not None else {}
    latent = LatentShape(channels, frames, height, width)
    return sampling_task(weights, config, batch, latent, passes=1, steering=steering, run=0).ways[0].working_bytes
