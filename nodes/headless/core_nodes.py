"""ComfyUI's own nodes that our example workflows use, for the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...common.errors import InvalidInputError, MissingFileError
from ..api import io
from ..host import host
from ..video_file import read_video
from .load_latent import LoadLatent

Video = io.Custom("VIDEO")


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
        return _is_there(image, "picture")

    @classmethod
    def execute(cls, image: str) -> Any:
        from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

        path = host().input_file(image)
        try:
            with Image.open(path) as file:
                frames = [ImageOps.exif_transpose(frame).copy() for frame in ImageSequence.Iterator(file)]
        except FileNotFoundError:
            raise MissingFileError(f"There is no picture file {path}. Check the name.") from None
        except (UnidentifiedImageError, OSError):
            raise InvalidInputError(f"{path.name} cannot be read as a picture. Use a PNG, JPEG or WebP file.") from None
        frames = [frame for frame in frames if frame.size == frames[0].size]
        pixels = torch.stack([_pixels(frame.convert("RGB")) for frame in frames])
        if not any("A" in frame.getbands() or "transparency" in frame.info for frame in frames):
            return io.NodeOutput(pixels, torch.zeros(1, 64, 64))
        opacity = torch.stack([_pixels(frame.convert("RGBA").getchannel("A")) for frame in frames])
        return io.NodeOutput(pixels, 1 - opacity)


def _is_there(file: str | None, kind: str) -> bool | str:
    if file is None or host().input_file(file).is_file():
        return True
    return (
        f"There is no {kind} file {file}. Give a path, or put the file beside the workflow or into ComfyUI's input "
        "folder."
    )


def _pixels(picture: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).float() / 255


class ImageFromBatch(io.ComfyNode):
    """Some of the frames of a clip."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ImageFromBatch",
            display_name="ImageFromBatch",
            category="image/batch",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("batch_index", default=0, min=0, max=4095, tooltip="The first frame taken, from 0."),
                io.Int.Input("length", default=1, min=1, max=4096, tooltip="How many frames are taken."),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, batch_index: int, length: int) -> Any:
        first = min(batch_index, len(image) - 1)
        return io.NodeOutput(image[first : first + length].clone())


class LoadVideo(io.ComfyNode):
    """A video file; what travels on the wire is its path."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LoadVideo",
            display_name="Load Video",
            category="image/video",
            inputs=[io.String.Input("file", tooltip="Path of a video, or its name in the input folder.")],
            outputs=[Video.Output()],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return _is_there(file, "video")

    @classmethod
    def execute(cls, file: str) -> Any:
        return io.NodeOutput(host().input_file(file))


class GetVideoComponents(io.ComfyNode):
    """The frames of a video and how many there are per second; no sound."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="GetVideoComponents",
            display_name="Get Video Components",
            category="image/video",
            inputs=[Video.Input("video")],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Custom("AUDIO").Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
            ],
        )

    @classmethod
    def execute(cls, video: Path) -> Any:
        frames, fps = read_video(video)
        return io.NodeOutput(frames, None, fps)


CORE_NODES = {node.__name__: node for node in (LoadImage, ImageFromBatch, LoadVideo, GetVideoComponents, LoadLatent)}
