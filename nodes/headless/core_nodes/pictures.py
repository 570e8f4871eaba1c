"""Nodes that read and write picture files."""

from __future__ import annotations

import io as bytes_io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....common.errors import OutputError
from ....media.picture_reading import check_pictures, read_pictures
from ... import standin as io
from ...api import answer
from ...host import SavePlace, host

NO_MASK = (1, 64, 64)
"""What Load Image gives as the mask of a picture that says nothing of its opacity."""


class LoadImage(io.ComfyNode):
    """A picture file as IMAGE and MASK; the frames of an animated one as a clip."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LoadImage",
            display_name="Load Image",
            category="image",
            inputs=[io.String.Input("image", tooltip="Path of a picture, or its name in the input folder.")],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def validate_inputs(cls, image: str | None = None) -> bool | str:
        return _is_picture(image)

    @classmethod
    def execute(cls, image: str) -> Any:
        return io.NodeOutput(*_image_and_mask(image))


class LoadImageMask(io.ComfyNode):
    """One channel of a picture file as a mask."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LoadImageMask",
            display_name="Load Image (as Mask)",
            category="image",
            inputs=[
                io.String.Input("image", tooltip="Path of a picture, or its name in the input folder."),
                io.Combo.Input("channel", options=["alpha", "red", "green", "blue"]),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def validate_inputs(cls, image: str | None = None) -> bool | str:
        return _is_picture(image)

    @classmethod
    def execute(cls, image: str, channel: str) -> Any:
        pixels, mask = _image_and_mask(image)
        return io.NodeOutput(
            mask if channel == "alpha" else pixels[..., ["red", "green", "blue"].index(channel)].clone()
        )


def _image_and_mask(name: str) -> tuple[Tensor, Tensor]:
    pixels, opacity = read_pictures(host().input_file(name))
    return pixels, torch.zeros(NO_MASK) if opacity is None else 1 - opacity


def _is_picture(name: str | None) -> bool | str:
    there = is_there(name, "picture")
    return answer(check_pictures, host().input_file(name)) if there is True and name is not None else there


def is_there(file: str | None, kind: str) -> bool | str:
    """Whether an input file is where it was looked for; the sentence that says it is not."""
    if file is None or os.path.isfile(host().input_file(file)):  # False for names too long
        return True
    return (
        f"There is no {kind} file {file}. Give a path, or put the file beside the workflow or into ComfyUI's input "
        "folder."
    )


class SaveImage(io.ComfyNode):
    """Pictures to PNG files in the output folder."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SaveImage",
            display_name="Save Image",
            category="image",
            inputs=[io.Image.Input("images"), io.String.Input("filename_prefix", default="ComfyUI")],
            outputs=[io.Image.Output(display_name="images")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str) -> Any:
        place = host().save_place(filename_prefix, images.shape[2], images.shape[1])
        files = list(_saved(images, place, _texts(cls.hidden)))
        results = [io.SavedResult(file.name, place.subfolder_of(file), io.FolderType.output) for file in files]
        return io.NodeOutput(images, ui=io.SavedImages(results))


class PreviewImage(io.ComfyNode):
    """Hands pictures on; on the command line there is no canvas that shows them, so that nothing is made for it."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="PreviewImage",
            display_name="Preview Image",
            category="image",
            inputs=[io.Image.Input("images")],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, images: Tensor) -> Any:
        return io.NodeOutput(images)


def _texts(hidden: Any) -> dict[str, str]:
    if not host().saves_metadata():
        return {}
    data = {"prompt": hidden.prompt, **(hidden.extra_pnginfo or {})}
    return {name: json.dumps(value) for name, value in data.items() if value is not None}


def _saved(images: Tensor, place: SavePlace, texts: dict[str, str]) -> Iterator[Path]:
    """Writes each picture to the next number that is free, and gives its path."""
    counter = place.counter
    for index, image in enumerate(images):
        host().check_interrupt()
        content = _png(image, texts)
        name = place.name.replace("%batch_num%", str(index))
        while not _written(file := place.folder / f"{name}_{counter:05}_.png", content):
            counter += 1
        counter += 1
        yield file


def _png(image: Tensor, texts: dict[str, str]) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    pixels = np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)
    memory = bytes_io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
        memory, "png", pnginfo=info, compress_level=4
    )
    return memory.getvalue()


def _written(file: Path, content: bytes) -> bool:
    """Writes a file that is not there yet, whole or not at all; False when it is there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(file, error) from None
    try:
        stream = file.open("xb")
    except FileExistsError:
        return False
    except OSError as error:
        raise _refusal(file, error) from None
    try:
        with stream:
            stream.write(content)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise _refusal(file, error) from None
    except BaseException:  # a border: a half file goes, whatever stopped it
        file.unlink(missing_ok=True)
        raise
    return True


def _refusal(file: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{file.name} could not be written to {file.parent}: {error.strerror}. Free some room there, allow writing, or "
        "choose another output folder."
    )
