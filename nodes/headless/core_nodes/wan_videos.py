"""ComfyUI's nodes that prepare a Wan video: blank latents, given frames and control videos.

Pictures of another shape are cut in the middle and resized without antialiasing, as ComfyUI does; our own nodes
resize better.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....common.log import logger
from ....common.shapes import check_bounds, check_size, video_frames
from ....dit.conditioning.vace import mask_channels
from ... import standin as io
from ...conditioning.clip_image import joined_clip_vision
from ...conditioning.entries import with_values
from ...conditioning.vace import with_vace
from ...sockets.latents import STRIDE_KEY, check_video_size, family_of, made_by, tagged_latent
from .scaling import MAX_SIDE, scaled

MOST_VIDEOS = 4096


class EmptyHunyuanLatentVideo(io.ComfyNode):
    """The blank latent of a video of 16 channels; a sampler brings it to its model's."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="EmptyHunyuanLatentVideo",
            display_name="Empty HunyuanVideo 1.0 Latent",
            category="model/latent/hunyuan video",
            inputs=size_inputs(848, 480, 25),
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, width: int, height: int, length: int, batch_size: int) -> Any:
        check_bounds(width, height, length, batch_size)
        shape = (batch_size, 16, latent_frames_of(length), height // 8, width // 8)
        return io.NodeOutput({"samples": torch.zeros(shape), STRIDE_KEY: 8})


class WanImageToVideo(io.ComfyNode):
    """A video with a start image."""

    @classmethod
    def define_schema(cls) -> Any:
        pictures = [
            io.ClipVisionOutput.Input("clip_vision_output", optional=True),
            io.Image.Input("start_image", optional=True, tooltip="The first frame, or the first frames in a batch."),
        ]
        return video_schema("WanImageToVideo", pictures)

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        clip_vision_output: Any = None,
        start_image: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        values = joined_clip_vision(clip_vision_output, None)
        if start_image is not None:
            given = fitted(start_image[:length], width, height)
            mask = torch.ones(1, 1, *latent["samples"].shape[2:])
            mask[:, :, : (len(given) - 1) // 4 + 1] = 0.0
            values |= given_values(vae, grey(given, length, width, height), mask)
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)


class WanFirstLastFrameToVideo(io.ComfyNode):
    """A video with a start and an end image."""

    @classmethod
    def define_schema(cls) -> Any:
        pictures = [
            io.ClipVisionOutput.Input("clip_vision_start_image", optional=True),
            io.ClipVisionOutput.Input("clip_vision_end_image", optional=True),
            *_start_and_end(),
        ]
        return video_schema("WanFirstLastFrameToVideo", pictures)

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        clip_vision_start_image: Any = None,
        clip_vision_end_image: Any = None,
        start_image: Tensor | None = None,
        end_image: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        frames, *size = latent["samples"].shape[2:]
        video, mask = torch.full((length, height, width, 3), 0.5), torch.ones(1, 1, 4 * frames, *size)
        if start_image is not None:
            start = fitted(start_image[:length], width, height)
            video[: len(start)], mask[:, :, : len(start) + 3] = start, 0.0  # the first frame is four of the mask
        if end_image is not None:
            end = fitted(end_image[-length:], width, height)
            video[-len(end) :], mask[:, :, -len(end) :] = end, 0.0
        values = joined_clip_vision(clip_vision_start_image, clip_vision_end_image)
        values |= given_values(vae, video, mask.view(1, frames, 4, *size).transpose(1, 2))
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)


class WanFunInpaintToVideo(io.ComfyNode):
    """A video with a start and an end image, for the inpainting models."""

    @classmethod
    def define_schema(cls) -> Any:
        pictures = [io.ClipVisionOutput.Input("clip_vision_output", optional=True), *_start_and_end()]
        return video_schema("WanFunInpaintToVideo", pictures, folder="/fun inpaint")

    @classmethod
    def execute(cls, clip_vision_output: Any = None, **inputs: Any) -> Any:
        return WanFirstLastFrameToVideo.execute(clip_vision_start_image=clip_vision_output, **inputs)


class WanVaceToVideo(io.ComfyNode):
    """A video that follows another, changes a masked part of it, or shows a reference picture."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.Float.Input("strength", default=1.0, min=0.0, max=1000.0, step=0.01),
            io.Image.Input("control_video", optional=True, tooltip="What to follow or change; grey after its end."),
            io.Mask.Input("control_masks", optional=True, tooltip="White is made anew; white after their end."),
            io.Image.Input("reference_image", optional=True, tooltip="What to show; of several the first."),
        ]
        trim = io.Int.Output(display_name="trim_latent", tooltip="For Trim Video Latent.")
        return video_schema("WanVaceToVideo", inputs, trim, folder="/vace")

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        strength: float,
        **pictures: Tensor | None,
    ) -> Any:
        references = _reference(vae, pictures.get("reference_image"), width, height)
        latent = blank(vae, width, height, length, batch_size, more=len(references))
        video, mask = _control(pictures.get("control_video"), pictures.get("control_masks"), (length, height, width))
        kept, changed = ((video - 0.5) * part[..., None] + 0.5 for part in (1 - mask, mask))
        control = torch.cat([*references, torch.cat((vae.encode(kept), vae.encode(changed)), dim=1)], dim=2)
        shown = mask[: video_frames(latent_frames_of(length))]
        channels = mask_channels(shown, len(references), vae.spacial_compression_encode())
        sides = [with_vace(vae, side, control, channels, strength) for side in (positive, negative)]
        return io.NodeOutput(*sides, latent, len(references))


class Wan22ImageToVideoLatent(io.ComfyNode):
    """The latent of TI2V-5B, with a start image in it."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="Wan22ImageToVideoLatent",
            category="model/conditioning/wan",
            inputs=[
                io.Vae.Input("vae"),
                *size_inputs(1280, 704, 49, step=32),
                io.Image.Input("start_image", optional=True, tooltip="The first frame, or the first 1 + 4k frames."),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(
        cls, vae: Any, width: int, height: int, length: int, batch_size: int, start_image: Tensor | None = None
    ) -> Any:
        if start_image is None:
            if batch_size > 1:
                logger.warning("Without a start image one video is made and not %d, as in ComfyUI.", batch_size)
            return io.NodeOutput(blank(vae, width, height, length, 1))
        latent = blank(vae, width, height, length, batch_size)
        samples = family_of(vae).denormalize(latent["samples"])
        mask = torch.ones_like(samples[:, :1])
        given = vae.encode(fitted(start_image[:length], width, height))
        samples[:, :, : given.shape[2]], mask[:, :, : given.shape[2]] = given, 0.0
        return io.NodeOutput({**latent, "samples": samples, "noise_mask": mask})


def video_schema(name: str, inputs: list[Any], *more: Any, folder: str = "", length: int = 81) -> Any:
    return io.Schema(
        node_id=name,
        category=f"model/conditioning/wan{folder}",
        inputs=[
            io.Conditioning.Input("positive"),
            io.Conditioning.Input("negative"),
            io.Vae.Input("vae"),
            *size_inputs(832, 480, length),
            *inputs,
        ],
        outputs=[
            io.Conditioning.Output(display_name="positive"),
            io.Conditioning.Output(display_name="negative"),
            io.Latent.Output(display_name="latent"),
            *more,
        ],
    )


def size_inputs(width: int, height: int, length: int, step: int = 16) -> list[Any]:
    return [
        io.Int.Input("width", default=width, min=step, max=MAX_SIDE, step=step),
        io.Int.Input("height", default=height, min=step, max=MAX_SIDE, step=step),
        io.Int.Input("length", default=length, min=1, max=MAX_SIDE, step=4, tooltip="Frames: 1 + 4k."),
        io.Int.Input("batch_size", default=1, min=1, max=MOST_VIDEOS),
    ]


def _start_and_end() -> list[Any]:
    return [
        io.Image.Input("start_image", optional=True, tooltip="The first frame, or the first frames in a batch."),
        io.Image.Input("end_image", optional=True, tooltip="The last frame, or the last frames in a batch."),
    ]


def latent_frames_of(length: int) -> int:
    """Of a video of so many frames; one of another length than 1 + 4k gets fewer, as in ComfyUI."""
    frames = (length - 1) // 4 + 1
    if video_frames(frames) != length:
        logger.warning("A video has 1 + 4k frames: with length %d it gets %d.", length, video_frames(frames))
    return frames


def blank(
    vae: Any, width: int, height: int, length: int, batch_size: int, *, more: int = 0, any_size: bool = False
) -> dict[str, Any]:
    """A native LATENT of zeros, with `more` latent frames of references before the video.

    With `any_size` what stands over the cells of the VAE is cut off, and an odd number of cells is no mistake.
    """
    if any_size:
        check_size(width, height, multiple=1)
    else:
        check_video_size(width, height, None, family_of(vae))
    check_bounds(width, height, length, batch_size)
    stride = vae.spacial_compression_encode()
    shape = (batch_size, vae.latent_channels, more + latent_frames_of(length), height // stride, width // stride)
    return tagged_latent(torch.zeros(shape), vae)


def fitted(pictures: Tensor, width: int, height: int) -> Tensor:
    """Pictures [F, H, W, C] as [F, height, width, 3], float32."""
    return scaled(pictures[..., :3].float(), width, height, "bilinear", "center")


def grey(pictures: Tensor, length: int, width: int, height: int) -> Tensor:
    """A clip [length, height, width, 3] that begins with these pictures and goes on grey."""
    return torch.cat([pictures, torch.full((length - len(pictures), height, width, 3), 0.5)])


def given_values(vae: Any, video: Tensor, mask: Tensor) -> dict[str, Any]:
    """The conditioning values of given frames."""
    return {"concat_latent_image": vae.encode(video), "concat_mask": mask} | made_by(vae)


def _reference(vae: Any, pictures: Tensor | None, width: int, height: int) -> list[Tensor]:
    """The raw latent [1, 32, 1, h, w] of the first picture, if there is one: 16 channels of it, and nothing."""
    if pictures is None:
        return []
    latent = vae.encode(fitted(pictures[:1], width, height))
    return [torch.cat([latent, family_of(vae).denormalize(torch.zeros_like(latent))], dim=1)]


def _control(control: Tensor | None, masks: Tensor | None, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """A control video [F, H, W, 3] and its mask [F, H, W] of a shape; what is not given is grey and made anew."""
    length, height, width = shape
    given = torch.zeros(0, height, width, 3) if control is None else fitted(control[:length], width, height)
    mask = torch.zeros(0, height, width)
    if masks is not None:
        mask = scaled(masks.reshape(-1, *masks.shape[-2:])[:length].float(), width, height, "bilinear", "center")
    return grey(given, length, width, height), F.pad(mask, (0, 0, 0, 0, 0, length - len(mask)), value=1.0)
