"""ComfyUI's nodes that make a video follow a control video, for the Fun-Control models.

What is not given is zeros for the model, and not the latent of grey frames as for other start images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....common.shapes import video_frames
from .... import standin as io
from ....conditioning.clip_image import joined_clip_vision
from ....conditioning.entries import with_values
from ....conditioning.fun import with_reference
from ....sockets.latents import family_of, made_by
from ..wan_videos import blank, fitted, latent_frames_of, video_schema


class WanFunControlToVideo(io.ComfyNode):
    """A video that follows another one, for the models of Wan 2.1."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.ClipVisionOutput.Input("clip_vision_output", optional=True),
            io.Image.Input("start_image", optional=True, tooltip="The first frame, or the first frames in a batch."),
            io.Image.Input("control_video", optional=True, tooltip="What to follow: lines, depth, poses."),
        ]
        return video_schema("WanFunControlToVideo", inputs, folder="/fun control")

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
        control_video: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        followed, given = (placed(vae, clip, latent, length) for clip in (control_video, start_image))
        values = {"concat_latent_image": torch.cat([followed, given], dim=1)} | made_by(vae)
        values |= joined_clip_vision(clip_vision_output, None)
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)


class Wan22FunControlToVideo(io.ComfyNode):
    """A video that follows another one and shows a reference picture, for the models of Wan 2.2 and 1.1."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.Image.Input("ref_image", optional=True, tooltip="Who or what to show; of several the first."),
            io.Image.Input("control_video", optional=True, tooltip="What to follow: lines, depth, poses."),
        ]
        return video_schema("Wan22FunControlToVideo", inputs, folder="/fun control")

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
        ref_image: Tensor | None = None,
        control_video: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        followed, given = (placed(vae, clip, latent, length) for clip in (control_video, None))
        _, channels, frames, *size = latent["samples"].shape
        values = {
            "concat_latent_image": torch.cat([followed, given], dim=1),
            "concat_mask": torch.ones(1, 4, frames, *size),
            "concat_mask_index": channels,
        } | made_by(vae)
        sides = [with_values(side, values) for side in (positive, negative)]
        if ref_image is not None:
            picture = vae.encode(fitted(ref_image[:1], width, height))
            sides = [with_reference(side, picture) for side in sides]
        return io.NodeOutput(*sides, latent)


def placed(vae: Any, clip: Tensor | None, latent: dict[str, Any], length: int) -> Tensor:
    """The raw latent [1, C, T, h, w] of pictures [F, H, W, C], at the beginning of a video of so many frames.

    The rest of it is what is zero for the model. Pictures beyond the last 1 + 4k are left out, as in ComfyUI.
    """
    samples = latent["samples"][:1]
    result = family_of(vae).denormalize(torch.zeros_like(samples))
    if clip is None:
        return result
    stride = vae.spacial_compression_encode()
    width, height = samples.shape[-1] * stride, samples.shape[-2] * stride
    clip = clip[:length]
    encoded = vae.encode(fitted(clip[: video_frames(latent_frames_of(len(clip)))], width, height))
    return torch.cat([encoded, result[:, :, encoded.shape[2] :]], dim=2)
