"""ComfyUI's nodes that load and use a network that makes pictures larger, through the package spandrel.

It is no dependency of the pack: `pip install spandrel`.
"""

from __future__ import annotations

import pickle
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .....common.empty_tensors import empty
from .....common.errors import CheckpointError, MissingPackageError
from .....common.memory.free_ram import require_ram
from .....common.shapes import PictureSize
from .....engine.enlarging import ByPictureModel
from .....engine.runtime import Runtime, Work
from .....media.pictures import clean_clip
from .... import standin as io
from ....files.model_files import find_model
from ....hosts.host import host
from ....upscaling.picture_model import UPSCALE_MODEL, UPSCALE_MODELS, NativePictureModel, picture_model

UpscaleModel = io.Custom(UPSCALE_MODEL)


class UpscaleModelLoader(io.ComfyNode):
    """A network that makes pictures larger."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="UpscaleModelLoader",
            display_name="Load Upscale Model",
            category="model/loaders",
            inputs=[io.String.Input("model_name", tooltip="A file in models/upscale_models.")],
            outputs=[UpscaleModel.Output()],
        )

    @classmethod
    def execute(cls, model_name: str) -> Any:
        path = find_model(UPSCALE_MODELS, model_name)
        return io.NodeOutput(host().runtime.perform(Work(partial(load, path), partial(Planned, path.stat().st_size))))


class ImageUpscaleWithModel(io.ComfyNode):
    """Pictures made larger by a network."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ImageUpscaleWithModel",
            display_name="Upscale Image (using Model)",
            category="image/upscaling",
            inputs=[UpscaleModel.Input("upscale_model"), io.Image.Input("image")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, upscale_model: Any, image: Tensor) -> Any:
        model, clip, runtime = picture_model(upscale_model), clean_clip(image, "image"), host().runtime
        frames, height, width = clip.shape[:3]
        shape = (frames, model.scale * height, model.scale * width, 3)
        work = Work(partial(enlarged, model, clip, shape, runtime), partial(empty, *shape))
        return io.NodeOutput(runtime.perform(work))


class Planned(nn.Module):
    """Stands for a network of a file of so many bytes in a plan, which does not read it: it makes four times of one."""

    scale, input_channels = 4, 3

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        held = nn.Parameter(empty(size_bytes, dtype=torch.uint8), requires_grad=False)
        self.model = nn.ParameterList([held])


def load(path: Path) -> Any:
    """The network of a file, in evaluation mode.

    Raises:
        MissingPackageError: spandrel is not installed.
        CheckpointError: it does not know the file, or the file is for another task.
    """
    try:
        spandrel = import_module("spandrel")
    except ImportError as error:
        raise MissingPackageError(
            f"Upscale models are read by the package spandrel, which is not installed ({error}). Install it (pip "
            "install spandrel), or enlarge without an upscale model."
        ) from None
    faults = (spandrel.UnsupportedModelError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, OSError)
    try:
        found = spandrel.ModelLoader(device="cpu").load_from_file(path)
    except faults as error:
        raise CheckpointError(
            f"{path.name} is no upscale model that spandrel can read ({type(error).__name__}: {error}). Take one such "
            "as RealESRGAN_x4plus.pth."
        ) from None
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise CheckpointError(
            f"{path.name} is a model for another task ({found.purpose}), not for making pictures larger. Take one such "
            "as RealESRGAN_x4plus.pth."
        )
    return found.eval()


def enlarged(model: NativePictureModel, clip: Tensor, shape: tuple[int, ...], runtime: Runtime) -> Tensor:
    """All pictures of a clip [F, h, w, 3] as the network makes them, [F, scale * h, scale * w, 3].

    Raises:
        OutOfMemory: they do not fit into RAM, or a tile does not fit on the device.
    """
    frames, height, width, _ = shape
    pictures = f"{frames} pictures of {width}x{height}"
    require_ram(4 * frames * height * width * 3, pictures, "Take fewer or smaller ones.")
    change = ByPictureModel(model, PictureSize(width, height), runtime.check_interrupt)
    device, made = runtime.device("vae"), torch.empty(shape, dtype=torch.float32)
    for number, picture in enumerate(clip):
        frame = picture.movedim(-1, 0)[None, :, None].to(device)
        made[number] = change(frame)[0, :, 0].movedim(0, -1).cpu()
    return made
