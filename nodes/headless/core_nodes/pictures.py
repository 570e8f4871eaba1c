"""Nodes that read and write picture files."""

from __future__ import annotations

import io as bytes_io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ....common.checking import has_values
from ....common.errors import InvalidInputError, MissingFileError
from ....media.edges import find_edges
from ....media.faults import writing_to
from ....media.picture_reading import check_pictures
from ....media.place import SavePlace
from ....media.video_writing import file_texts, png_texts
from ....media.whole import publish, remove_leftovers, unfinished_file
from ... import standin as io
from ...api import answer
from ...hosts.host import host
from ...saving.rescue import keep_pictures
from ...saving.result import check_file, found_place, metadata_of, saved_files

if TYPE_CHECKING:
    from PIL import Image

NO_MASK = (1, 64, 64)
"""What Load Image gives as the mask of a picture that says nothing of its opacity."""

_EFFORTS = {"default": 4, "fastest": 0, "slowest": 6}
"""Of the WebP encoder."""
_PROMPT_TAG = 0x0110


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
    pixels, opacity = host().files.pictures(host().input_file(name))
    return pixels, torch.zeros(NO_MASK) if opacity is None else 1 - opacity


def _is_picture(name: str | None) -> bool | str:
    there = is_there(name, "picture")
    return answer(check_pictures, host().input_file(name)) if there is True and name is not None else there


def is_there(file: str | None, kind: str) -> bool | str:
    """Whether an input file is where it was looked for; the sentence that says it is not."""
    return True if file is None else answer(_check_there, file, kind)


def _check_there(file: str, kind: str) -> None:
    if not os.path.isfile(host().input_file(file)):  # False for names too long
        raise MissingFileError(
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
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool:
        check_file(filename_prefix, None)
        return True

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str) -> Any:
        metadata = metadata_of(cls.hidden)
        results = _results(images, filename_prefix, cls.hidden, lambda place: list(_saved(images, place, metadata)))
        return io.NodeOutput(images, ui=io.SavedImages(results))


class SaveAnimatedWEBP(io.ComfyNode):
    """Pictures, with their opacity if they have one, as one animated WebP file in the output folder."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SaveAnimatedWEBP",
            display_name="Save Animated WEBP",
            category="image",
            inputs=[
                io.Image.Input("images"),
                io.String.Input("filename_prefix", default="ComfyUI"),
                io.Float.Input("fps", default=6.0, min=0.01, max=1000.0, step=0.01),
                io.Boolean.Input("lossless", default=True),
                io.Int.Input("quality", default=80, min=0, max=100),
                io.Combo.Input("method", options=list(_EFFORTS), tooltip="How long to look for a smaller file."),
            ],
            outputs=[io.Image.Output(display_name="images")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool:
        check_file(filename_prefix, None)
        return True

    @classmethod
    def execute(
        cls, images: Tensor, filename_prefix: str, fps: float, lossless: bool, quality: int, method: str
    ) -> Any:
        metadata = metadata_of(cls.hidden)
        options = {"lossless": lossless, "quality": quality, "method": _EFFORTS[method]}

        def write(place: SavePlace) -> list[Path]:
            _make_ready(place)
            return [_published(_webp(images, fps, metadata, options), place, "webp")]

        results = _results(images, filename_prefix, cls.hidden, write)
        return io.NodeOutput(images, ui=io.SavedImages(results, is_animated=len(images) > 1))


class Canny(io.ComfyNode):
    """The edges of pictures, white on black."""

    @classmethod
    def define_schema(cls) -> Any:
        limits = {"min": 0.01, "max": 0.99, "step": 0.01}
        return io.Schema(
            node_id="Canny",
            display_name="Detect Edges (Canny)",
            category="image/filters",
            inputs=[
                io.Image.Input("image"),
                io.Float.Input("low_threshold", default=0.4, **limits),
                io.Float.Input("high_threshold", default=0.8, **limits),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, low_threshold: float, high_threshold: float) -> Any:
        if low_threshold > high_threshold:
            raise InvalidInputError(
                f"low_threshold is {low_threshold:g}, above high_threshold, which is {high_threshold:g}. Make it lower."
            )
        pictures = image[..., :3]
        if not has_values(pictures):
            return io.NodeOutput(pictures)
        edges = find_edges(pictures, low_threshold, high_threshold)
        return io.NodeOutput(edges.unsqueeze(-1).expand(-1, -1, -1, 3).contiguous())


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


def _results(images: Tensor, filename_prefix: str, hidden: Any, write: Callable[[SavePlace], list[Path]]) -> list[Any]:
    """What `write` has saved at the place of a name, for the canvas; when it fails, the pictures are kept elsewhere."""

    def placed() -> tuple[SavePlace, list[Path]]:
        place = found_place(filename_prefix, (images.shape[1], images.shape[2]), hidden)
        return place, write(place)

    return saved_files(placed, lambda: keep_pictures(images.float().clamp(0, 1), metadata_of(hidden)))


def _saved(images: Tensor, place: SavePlace, metadata: Mapping[str, Any]) -> Iterator[Path]:
    """Writes each picture to the next number that is free, and gives its path."""
    texts = file_texts(metadata)
    _make_ready(place)
    counter = place.counter
    for index, image in enumerate(images):
        host().runtime.check_interrupt()
        name = place.name.replace("%batch_num%", str(index))
        file = _published(_png(image, texts), place._replace(name=name, counter=counter), "png")
        counter = int(file.stem.removeprefix(f"{name}_").removesuffix("_")) + 1
        yield file


def _make_ready(place: SavePlace) -> None:
    with writing_to(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place.folder)


def _published(content: bytes, place: SavePlace, ending: str) -> Path:
    with writing_to(place.folder), unfinished_file(place.folder, ending) as unfinished:
        unfinished.write_bytes(content)
        return publish(unfinished, place, ending)


def _png(image: Tensor, texts: dict[str, str]) -> bytes:
    memory = bytes_io.BytesIO()
    _picture(image).save(memory, "png", pnginfo=png_texts(texts), compress_level=4)
    return memory.getvalue()


def _webp(images: Tensor, fps: float, metadata: Mapping[str, Any], options: dict[str, Any]) -> bytes:
    """An animation, with the graph under the EXIF tags that ComfyUI takes for it."""
    pictures = [_picture(image) for image in images]
    exif = pictures[0].getexif()
    named = dict(metadata)
    texts = {_PROMPT_TAG: ("prompt", named.pop("prompt", None))}
    texts |= {_PROMPT_TAG - 1 - number: text for number, text in enumerate(named.items())}
    for tag, (name, value) in texts.items():
        if value is not None:
            exif[tag] = f"{name}:{json.dumps(value)}"
    memory = bytes_io.BytesIO()
    more = {"save_all": True, "append_images": pictures[1:], "duration": int(1000 / fps), "exif": exif}
    pictures[0].save(memory, "webp", **more, **options)
    return memory.getvalue()


def _picture(image: Tensor) -> Image.Image:
    """A picture [H, W, C] in 0..1, in 8 bits."""
    from PIL import Image

    pixels = np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
