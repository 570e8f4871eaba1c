"""Nodes that make, join, repeat and cut batches of pictures and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.checking import has_values
from ....common.memory.free_ram import require_ram
from ... import standin as io
from .dynamic_inputs import Growing
from .scaling import MAX_SIDE, scaled, side_input

_MOST = 4096
_FLOAT_BYTES = 4


class ImageFromBatch(io.ComfyNode):
    """Some of the frames of a clip."""

    @classmethod
    def define_schema(cls) -> Any:
        first = "The first frame taken, from 0; below 0 from the end."
        return io.Schema(
            node_id="ImageFromBatch",
            display_name="ImageFromBatch",
            category="image/batch",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("batch_index", default=0, min=-MAX_SIDE, max=MAX_SIDE, tooltip=first),
                io.Int.Input("length", default=1, min=1, max=_MOST, tooltip="How many frames are taken."),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, batch_index: int, length: int) -> Any:
        first = batch_index + len(image) if batch_index < 0 else batch_index
        first = max(0, min(first, len(image) - 1))
        return io.NodeOutput(image[first : first + length].clone())


class ImageBatch(io.ComfyNode):
    """Two batches as one, in the size of the first."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ImageBatch",
            display_name="Batch Images",
            category="image/batch",
            inputs=[io.Image.Input("image1"), io.Image.Input("image2")],
            outputs=[io.Image.Output()],
            is_deprecated=True,
        )

    @classmethod
    def execute(cls, image1: Tensor, image2: Tensor) -> Any:
        return io.NodeOutput(_joined([image1, image2]))


class BatchImagesNode(io.ComfyNode):
    """Batches of pictures as one, in the size of the first."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="BatchImagesNode",
            display_name="Batch Images",
            category="image/batch",
            inputs=[Growing("images", io.Image.Input("image"), prefix="image", most=50)],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, images: dict[str, Tensor]) -> Any:
        return io.NodeOutput(_joined(list(images.values())))


class BatchMasksNode(io.ComfyNode):
    """Batches of masks as one, in the size of the first."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="BatchMasksNode",
            display_name="Batch Masks",
            category="image/mask",
            inputs=[Growing("masks", io.Mask.Input("mask"), prefix="mask", most=50)],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, masks: dict[str, Tensor]) -> Any:
        return io.NodeOutput(torch.cat(_in_one_size(list(masks.values()))))


def _joined(batches: Sequence[Tensor]) -> Tensor:
    """Batches of pictures one after another; those without opacity are opaque where others have it."""
    channels = max(batch.shape[-1] for batch in batches)
    return torch.cat(_in_one_size([F.pad(batch, (0, channels - batch.shape[-1]), value=1.0) for batch in batches]))


def _in_one_size(batches: Sequence[Tensor]) -> list[Tensor]:
    height, width = batches[0].shape[1:3]
    return [
        batch if batch.shape[1:3] == (height, width) else scaled(batch, width, height, "bilinear", "center")
        for batch in batches
    ]


class RebatchImages(io.ComfyNode):
    """Pictures of several batches, of which each new one has so many."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="RebatchImages",
            display_name="Rebatch Images",
            category="image/batch",
            is_input_list=True,
            inputs=[io.Image.Input("images"), io.Int.Input("batch_size", default=1, min=1, max=_MOST)],
            outputs=[io.Image.Output(is_output_list=True)],
        )

    @classmethod
    def execute(cls, images: list[Tensor], batch_size: list[int]) -> Any:
        return io.NodeOutput(list(torch.cat(images).split(batch_size[0])))


class RepeatImageBatch(io.ComfyNode):
    """The same pictures several times."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="RepeatImageBatch",
            display_name="Repeat Image Batch",
            category="image/batch",
            inputs=[io.Image.Input("image"), io.Int.Input("amount", default=1, min=1, max=_MOST)],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, amount: int) -> Any:
        if has_values(image):
            _require_ram(amount * image.numel(), f"{amount * len(image)} pictures")
        return io.NodeOutput(image.repeat(amount, 1, 1, 1))


class EmptyImage(io.ComfyNode):
    """Pictures of one colour."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="EmptyImage",
            display_name="EmptyImage",
            category="image",
            inputs=[
                side_input("width", least=1),
                side_input("height", least=1),
                io.Int.Input("batch_size", default=1, min=1, max=_MOST),
                io.Int.Input("color", default=0, min=0, max=0xFFFFFF, step=1),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int = 1, color: int = 0) -> Any:
        _require_ram(batch_size * height * width * 3, f"{batch_size} pictures of {width}x{height}")
        colour = torch.tensor([(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)])
        return io.NodeOutput(colour.repeat(batch_size, height, width, 1))


class GetImageSize(io.ComfyNode):
    """Width, height and number of pictures."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="GetImageSize",
            display_name="Get Image Size",
            category="image",
            inputs=[io.Image.Input("image")],
            outputs=[io.Int.Output(display_name=name) for name in ("width", "height", "batch_size")],
        )

    @classmethod
    def execute(cls, image: Tensor) -> Any:
        frames, height, width = image.shape[:3]
        return io.NodeOutput(width, height, frames)


class ImageInvert(io.ComfyNode):
    """The negative of pictures."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ImageInvert",
            display_name="Invert Image",
            category="image/color",
            inputs=[io.Image.Input("image")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor) -> Any:
        return io.NodeOutput(1.0 - image)


class ImageCrop(io.ComfyNode):
    """A part of pictures."""

    @classmethod
    def define_schema(cls) -> Any:
        corner = [io.Int.Input(name, default=0, min=0, max=MAX_SIDE, step=1) for name in ("x", "y")]
        sides = [io.Int.Input(name, default=512, min=1, max=MAX_SIDE, step=1) for name in ("width", "height")]
        return io.Schema(
            node_id="ImageCrop",
            display_name="Crop Image (DEPRECATED)",
            category="image/transform",
            inputs=[io.Image.Input("image"), *sides, *corner],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, width: int, height: int, x: int, y: int) -> Any:
        # As there, a corner beyond the picture is its last pixel, and what reaches beyond it is left out.
        left, top = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
        return io.NodeOutput(image[:, top : top + height, left : left + width])


def _require_ram(numbers: int, what: str) -> None:
    require_ram(numbers * _FLOAT_BYTES, what, "Take fewer or smaller ones.")
