"""Nodes that resize pictures and masks, with the arithmetic of ComfyUI's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.checking import has_values
from ....common.errors import InvalidInputError
from ....common.memory.free_ram import require_ram
from ... import standin as io
from .dynamic_inputs import Choice, Choosing, ManyTyped, Matching, MatchingOutput

MAX_SIDE = 16384
METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
CROPS = ["disabled", "center"]


def side_input(name: str, least: int = 0) -> Any:
    """A widget for a width or height in pixels."""
    return io.Int.Input(name, default=512, min=least, max=MAX_SIDE, step=1)


def scaled(pictures: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """Pictures [F, H, W, C] or masks [F, H, W] at another size.

    crop "center" first cuts off what has not the new shape; "disabled" distorts. No method is antialiased, and bicubic
    overshoots, as in ComfyUI; lanczos works on 8 bits.

    Raises:
        InvalidInputError: a side of 0 pixels.
        OutOfMemory: the result would not fit into RAM.
    """
    if width < 1 or height < 1:
        raise InvalidInputError(f"The new size would be {width}x{height} pixels; each side has at least 1. Enlarge it.")
    if has_values(pictures):
        _require_ram(pictures, width, height)
    channels = pictures.movedim(-1, 1) if pictures.ndim == 4 else pictures.unsqueeze(1)
    if crop == "center":
        channels = _centre(channels, width / height)
    if method == "lanczos":
        resized = _lanczos(channels, width, height)
    else:
        resized = F.interpolate(channels, (height, width), mode=method)
    return resized.movedim(1, -1) if pictures.ndim == 4 else resized.squeeze(1)


def _require_ram(pictures: Tensor, width: int, height: int) -> None:
    channels = pictures.shape[-1] if pictures.ndim == 4 else 1
    wanted = len(pictures) * width * height * channels * pictures.element_size()
    require_ram(wanted, f"{len(pictures)} pictures of {width}x{height}", "Take fewer or smaller ones.")


def _centre(pictures: Tensor, aspect: float) -> Tensor:
    """The middle of pictures [F, C, H, W], with a width of `aspect` times the height."""
    height, width = pictures.shape[-2:]
    have, left, top = width / height, 0, 0
    if have > aspect:
        left = round((width - width * (aspect / have)) / 2)
    elif have < aspect:
        top = round((height - height * (have / aspect)) / 2)
    return pictures.narrow(-2, top, height - 2 * top).narrow(-1, left, width - 2 * left)


def _lanczos(pictures: Tensor, width: int, height: int) -> Tensor:
    """Pictures [F, C, H, W] resized by Pillow, in 8 bits."""
    if not has_values(pictures):
        return pictures.new_empty(*pictures.shape[:2], height, width)
    from PIL import Image

    resized = []
    for picture in pictures.movedim(1, -1).cpu().numpy():
        picture = np.clip(255.0 * picture, 0, 255).astype(np.uint8)
        picture = picture[..., 0] if picture.shape[-1] == 1 else picture
        small = Image.fromarray(picture).resize((width, height), resample=Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(small).astype(np.float32) / 255.0)
        resized.append(pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0))
    return torch.stack(resized).to(pictures.dtype)


def _to_size(pictures: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """As `scaled`; a side of 0 follows from the other one, and both of 0 leave the pictures as they are."""
    if width == 0 and height == 0:
        return pictures
    have_height, have_width = pictures.shape[1:3]
    width, height = (
        width or max(1, round(have_width * height / have_height)),
        height or max(1, round(have_height * width / have_width)),
    )
    return scaled(pictures, width, height, method, crop)


class ImageScale(io.ComfyNode):
    """Pictures at a size."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ImageScale",
            display_name="Upscale Image",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("upscale_method", options=METHODS),
                side_input("width"),
                side_input("height"),
                io.Combo.Input("crop", options=CROPS),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> Any:
        return io.NodeOutput(_to_size(image, width, height, upscale_method, crop))


class ImageScaleBy(io.ComfyNode):
    """Pictures a number of times as large."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ImageScaleBy",
            display_name="Upscale Image By",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("upscale_method", options=METHODS),
                io.Float.Input("scale_by", default=1.0, min=0.01, max=8.0, step=0.01),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, upscale_method: str, scale_by: float) -> Any:
        return io.NodeOutput(_by(image, scale_by, upscale_method))


class ImageScaleToTotalPixels(io.ComfyNode):
    """Pictures with so many pixels, in their own shape."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ImageScaleToTotalPixels",
            display_name="Scale Image to Total Pixels",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("upscale_method", options=METHODS),
                io.Float.Input("megapixels", default=1.0, min=0.01, max=16.0, step=0.01),
                io.Int.Input("resolution_steps", default=1, min=1, max=256),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, upscale_method: str, megapixels: float, resolution_steps: int = 1) -> Any:
        height, width = image.shape[1:3]
        times = math.sqrt(megapixels * 1024 * 1024 / (width * height))
        sides = [round(side * times / resolution_steps) * resolution_steps for side in (width, height)]
        return io.NodeOutput(scaled(image, sides[0], sides[1], upscale_method))


class ResizeImageMaskNode(io.ComfyNode):
    """Pictures or masks, resized by one of nine rules."""

    @classmethod
    def define_schema(cls) -> Any:
        crop = io.Combo.Input("crop", options=CROPS, default="center")
        longer, shorter = side_input("longer_size"), side_input("shorter_size")
        times = io.Float.Input("multiplier", default=1.0, min=0.01, max=8.0, step=0.01)
        megapixels = io.Float.Input("megapixels", default=1.0, min=0.01, max=16.0, step=0.01)
        multiple = io.Int.Input("multiple", default=8, min=1, max=MAX_SIDE, step=1)
        choices = [
            Choice("scale dimensions", [side_input("width"), side_input("height"), crop]),
            Choice("scale by multiplier", [times]),
            Choice("scale longer dimension", [longer]),
            Choice("scale shorter dimension", [shorter]),
            Choice("scale width", [side_input("width")]),
            Choice("scale height", [side_input("height")]),
            Choice("scale total pixels", [megapixels]),
            Choice("match size", [ManyTyped("match", ("IMAGE", "MASK")), crop]),
            Choice("scale to multiple", [multiple]),
        ]
        return io.Schema(
            node_id="ResizeImageMaskNode",
            display_name="Resize Image/Mask",
            category="image/transform",
            inputs=[
                Matching("input", "input_type", ("IMAGE", "MASK")),
                Choosing("resize_type", choices),
                io.Combo.Input("scale_method", options=METHODS, default="area"),
            ],
            outputs=[MatchingOutput(display_name="resized")],
        )

    @classmethod
    def execute(cls, input: Tensor, resize_type: dict[str, Any], scale_method: str) -> Any:
        values = dict(resize_type)
        rule = values.pop("resize_type")
        if rule not in _RULES:
            raise InvalidInputError(f"There is no way to resize called '{rule}'. Choose one of: {', '.join(_RULES)}.")
        return io.NodeOutput(_RULES[rule](input, method=scale_method, **values))


def _by(pictures: Tensor, multiplier: float, method: str) -> Tensor:
    height, width = pictures.shape[1:3]
    return scaled(pictures, round(width * multiplier), round(height * multiplier), method)


def _longer(pictures: Tensor, longer_size: int, method: str) -> Tensor:
    height, width = pictures.shape[1:3]
    if height > width:
        return scaled(pictures, round((width / height) * longer_size), longer_size, method)
    return scaled(pictures, longer_size, round((height / width) * longer_size), method)


def _shorter(pictures: Tensor, shorter_size: int, method: str) -> Tensor:
    height, width = pictures.shape[1:3]
    if height < width:
        return scaled(pictures, round((width / height) * shorter_size), shorter_size, method)
    return scaled(pictures, shorter_size, round((height / width) * shorter_size), method)


def _total(pictures: Tensor, megapixels: float, method: str) -> Tensor:
    height, width = pictures.shape[1:3]
    return _by(pictures, math.sqrt(int(megapixels * 1024 * 1024) / (width * height)), method)


def _multiple(pictures: Tensor, multiple: int, method: str) -> Tensor:
    """Covers the largest size of whole multiples, then cuts what stands over."""
    height, width = pictures.shape[1:3]
    new_width, new_height = width // multiple * multiple, height // multiple * multiple
    if 0 in (new_width, new_height) or (new_width, new_height) == (width, height):
        return pictures
    by_width, by_height = new_width / width, new_height / height
    if by_width >= by_height:
        cover_width, cover_height = new_width, max(new_height, math.ceil(height * by_width))
    else:
        cover_width, cover_height = max(new_width, math.ceil(width * by_height)), new_height
    left, top = (cover_width - new_width) // 2, (cover_height - new_height) // 2
    return scaled(pictures, cover_width, cover_height, method)[:, top : top + new_height, left : left + new_width]


_RULES = {
    "scale dimensions": _to_size,
    "scale by multiplier": _by,
    "scale longer dimension": _longer,
    "scale shorter dimension": _shorter,
    "scale width": lambda pictures, width, method: _to_size(pictures, width, 0, method),
    "scale height": lambda pictures, height, method: _to_size(pictures, 0, height, method),
    "scale total pixels": _total,
    "match size": lambda pictures, match, crop, method: scaled(pictures, match.shape[2], match.shape[1], method, crop),
    "scale to multiple": _multiple,
}
"""Name of a rule -> how it resizes pictures or masks; keywords are the inputs that the choice brings."""
