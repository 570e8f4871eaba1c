"""Nodes that make masks, and turn them into pictures and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.errors import InvalidInputError
from ... import standin as io
from ...hosts.host import host
from .scaling import MAX_SIDE, scaled, side_input

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


class JoinImageWithAlpha(io.ComfyNode):
    """Pictures with an opacity: a mask is white where they are transparent."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.Image.Input("image"), io.Mask.Input("alpha")]
        return io.Schema(
            node_id="JoinImageWithAlpha",
            display_name="Join Image with Alpha",
            category="image/compositing",
            inputs=inputs,
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, alpha: Tensor) -> Any:
        height, width = image.shape[1:3]
        opacity = 1.0 - scaled(alpha.reshape(-1, *alpha.shape[-2:]).to(image), width, height, "bilinear")
        most = max(len(image), len(opacity))
        pictures, opacity = (_repeated(each, most) for each in (image[..., :3], opacity[..., None]))
        return io.NodeOutput(torch.cat((pictures, opacity), dim=-1))


def _repeated(pictures: Tensor, count: int) -> Tensor:
    """So many pictures: these, again and again."""
    return pictures[torch.arange(count) % len(pictures)]


class ImagePadForOutpaint(io.ComfyNode):
    """Pictures with a grey border, and a mask of it that fades into the picture."""

    @classmethod
    def define_schema(cls) -> Any:
        sides = [
            io.Int.Input(side, default=0, min=0, max=MAX_SIDE, step=8) for side in ("left", "top", "right", "bottom")
        ]
        return io.Schema(
            node_id="ImagePadForOutpaint",
            display_name="Pad Image for Outpainting",
            category="image/transform",
            inputs=[
                io.Image.Input("image"),
                *sides,
                io.Int.Input("feathering", default=40, min=0, max=MAX_SIDE, step=1, advanced=True),
            ],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int) -> Any:
        height, width = image.shape[1:3]
        border = (left, right, top, bottom)
        padded = F.pad(image.float().movedim(-1, 1), border, value=0.5).movedim(1, -1)
        inside = torch.zeros(height, width, dtype=torch.float64)
        if 0 < 2 * feathering < min(height, width):
            rows = _distances(height, before=bool(top), after=bool(bottom))
            columns = _distances(width, before=bool(left), after=bool(right))
            nearest = torch.minimum(rows[:, None], columns)
            inside = ((feathering - nearest) / feathering).clamp(min=0) ** 2
        return io.NodeOutput(padded, F.pad(inside.float(), border, value=1.0)[None])


class Painter(io.ComfyNode):
    """A mask that was painted over a picture on the canvas, and the picture with what was painted."""

    @classmethod
    def define_schema(cls) -> Any:
        side = {"default": 512, "min": 64, "max": 4096, "step": 64}
        return io.Schema(
            node_id="Painter",
            display_name="Painter",
            category="image",
            inputs=[
                io.Image.Input("image", optional=True, tooltip="The picture that was painted over."),
                io.String.Input("mask", default="", tooltip="The file of what was painted; empty where nothing was."),
                io.Int.Input("width", **side, tooltip="Of what was painted without a picture."),
                io.Int.Input("height", **side, tooltip="Of what was painted without a picture."),
                io.String.Input("bg_color", default="#000000", tooltip="The ground without a picture."),
            ],
            outputs=[io.Image.Output(display_name="IMAGE"), io.Mask.Output(display_name="MASK")],
        )

    @classmethod
    def execute(cls, mask: str, width: int, height: int, bg_color: str, image: Tensor | None = None) -> Any:
        ground = image[:1] if image is not None else _plain(bg_color, width, height)
        height, width = ground.shape[1:3]
        if not mask.strip():
            return io.NodeOutput(ground, torch.zeros(1, height, width))
        colours, opacity = host().files.pictures(host().input_file(mask))
        opacity = torch.ones(colours.shape[:3]) if opacity is None else opacity
        painted = torch.cat([colours[:1], opacity[:1, ..., None]], dim=-1)
        if painted.shape[1:3] != ground.shape[1:3]:
            painted = scaled(painted, width, height, "lanczos", "disabled")
        over = painted[..., 3:]
        return io.NodeOutput(painted[..., :3] * over + ground[..., :3] * (1 - over), over[..., 0])


def _plain(colour: str, width: int, height: int) -> Tensor:
    """A picture [1, height, width, 3] of a colour "#rrggbb"; black of any other word."""
    digits = colour.lstrip("#")
    values = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)] if len(digits) == 6 else [0.0] * 3
    return torch.tensor(values).expand(1, height, width, 3).clone()


def _distances(length: int, *, before: bool, after: bool) -> Tensor:
    """How far each pixel of a line is from the borders that there are; the whole line where there is none."""
    places = torch.arange(length, dtype=torch.float64)
    nothing = torch.full_like(places, length)
    return torch.minimum(places if before else nothing, length - places if after else nothing)
