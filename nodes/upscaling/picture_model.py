"""Between a native UPSCALE_MODEL, a network of the package spandrel, and what the engine enlarges frames with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...common.checking import kind_of
from ...common.errors import InvalidInputError
from ...common.records import record
from ...engine.enlarging import Enlarge

UPSCALE_MODEL, UPSCALE_MODELS = "UPSCALE_MODEL", "upscale_models"
"""The socket, and the folder of model files."""


@record(eq=False)
class NativePictureModel:
    """An UPSCALE_MODEL; see `engine.enlarging.PictureModel`."""

    descriptor: Any

    @property
    def scale(self) -> int:
        """How many times as wide and high."""
        return int(self.descriptor.scale)

    @property
    def weight_bytes(self) -> int:
        """What its weights take."""
        return sum(weight.numel() * weight.element_size() for weight in self.descriptor.model.parameters())

    @contextlib.contextmanager
    def on(self, device: torch.device) -> Iterator[Enlarge]:
        """The network on a device; where the host had put it, it is again afterwards."""
        home = next((weight.device for weight in self.descriptor.model.parameters()), device)

        def enlarge(picture: Tensor) -> Tensor:
            with torch.no_grad():
                return self.descriptor(picture.float())

        self.descriptor.to(device)
        try:
            yield enlarge
        finally:
            self.descriptor.to(home)


def picture_model(value: Any) -> NativePictureModel:
    """What the socket UPSCALE_MODEL brings.

    Raises:
        InvalidInputError: it is no network that makes coloured pictures larger.
    """
    scale, network = getattr(value, "scale", None), getattr(value, "model", None)
    if not callable(value) or not isinstance(network, nn.Module) or not isinstance(scale, int) or scale < 1:
        raise InvalidInputError(
            f"upscale_model must be the model of Load Upscale Model, got {kind_of(value)}. Connect that node, or "
            "nothing to enlarge without one."
        )
    channels = getattr(value, "input_channels", 3)
    if channels != 3:
        raise InvalidInputError(
            f"The upscale model takes pictures of {channels} channels, and a video has 3 (RGB). Load one for coloured "
            "pictures, such as RealESRGAN_x4plus.pth."
        )
    return NativePictureModel(value)
