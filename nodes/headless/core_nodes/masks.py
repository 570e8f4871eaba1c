"""Nodes that make masks, and turn them into pictures and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....common.errors import InvalidInputError
from ... import standin as io
from .scaling import side_input

CHANNELS = ["red", "green", "blue", "alpha"]


class MaskToImage(io.ComfyNode):
    """A mask as grey pictures."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("MaskToImage", "Convert Mask to Image", [io.Mask.Input("mask")], io.Image.Output())

    @classmethod
    def execute(cls, mask: Tensor) -> Any:
        return io.NodeOutput(mask.reshape(-1, *mask.shape[-2:])[..., None].expand(-1, -1, -1, 3))


class ImageToMask(io.ComfyNode):
    """One channel of pictures as a mask."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.Image.Input("image"), io.Combo.Input("channel", options=CHANNELS)]
        return _schema("ImageToMask", "Convert Image to Mask", inputs, io.Mask.Output())

    @classmethod
    def execute(cls, image: Tensor, channel: str) -> Any:
        index = CHANNELS.index(channel)
        if index >= image.shape[-1]:
            raise InvalidInputError(
                f"The pictures have {image.shape[-1]} channels and none called '{channel}'. Choose another one; the "
                "opacity of a file is the MASK of Load Image."
            )
        return io.NodeOutput(image[..., index])


class SolidMask(io.ComfyNode):
    """A mask of one value."""

    @classmethod
    def define_schema(cls) -> Any:
        value = io.Float.Input("value", default=1.0, min=0.0, max=1.0, step=0.01)
        sides = [side_input("width", least=1), side_input("height", least=1)]
        return _schema("SolidMask", "Create Solid Mask", [value, *sides], io.Mask.Output())

    @classmethod
    def execute(cls, value: float, width: int, height: int) -> Any:
        return io.NodeOutput(torch.full((1, height, width), value))


class InvertMask(io.ComfyNode):
    """What a mask leaves out."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("InvertMask", "Invert Mask", [io.Mask.Input("mask")], io.Mask.Output())

    @classmethod
    def execute(cls, mask: Tensor) -> Any:
        return io.NodeOutput(1.0 - mask)


def _schema(name: str, title: str, inputs: list[Any], output: Any) -> Any:
    return io.Schema(node_id=name, display_name=title, category="image/mask", inputs=inputs, outputs=[output])
