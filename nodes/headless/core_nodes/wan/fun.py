"""ComfyUI's nodes for the Fun family: a video that follows a control video, or that is seen from a camera's path.

What is not given is zeros for the model, and not the latent of grey frames as for other start images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....common.errors import InvalidInputError
from .....common.shapes import VideoShape, check_bounds, video_frames
from .....dit.conditioning.camera import Lens, camera_rays
from .....dit.conditioning.camera_moves import MOVES, move_poses
from .... import standin as io
from ....conditioning.clip_image import joined_clip_vision
from ....conditioning.entries import with_values
from ....conditioning.fun import with_reference
from ....sockets.latents import family_of, made_by
from ..scaling import MAX_SIDE
from ..wan_videos import blank, fitted, latent_frames_of, video_schema

_POSES = {
    "Static": "static",
    "Pan Up": "pan up",
    "Pan Down": "pan down",
    "Pan Left": "pan left",
    "Pan Right": "pan right",
    "Zoom In": "zoom in",
    "Zoom Out": "zoom out",
    "Anti Clockwise (ACW)": "roll left",
    "ClockWise (CW)": "roll right",
}
_CameraEmbedding = io.Custom("WAN_CAMERA_EMBEDDING")


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


class WanCameraEmbedding(io.ComfyNode):
    """The rays of a camera that moves evenly."""

    @classmethod
    def define_schema(cls) -> Any:
        focal = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.000000001, "optional": True, "advanced": True}
        center = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01, "optional": True, "advanced": True}
        return io.Schema(
            node_id="WanCameraEmbedding",
            category="model/conditioning/wan/camera",
            inputs=[
                io.Combo.Input("camera_pose", options=list(_POSES), default="Static"),
                io.Int.Input("width", default=832, min=16, max=MAX_SIDE, step=16),
                io.Int.Input("height", default=480, min=16, max=MAX_SIDE, step=16),
                io.Int.Input("length", default=81, min=1, max=MAX_SIDE, step=4, tooltip="Frames: 1 + 4k."),
                io.Float.Input("speed", default=1.0, min=0.0, max=10.0, step=0.1, optional=True),
                *(io.Float.Input(name, **focal) for name in ("fx", "fy")),
                *(io.Float.Input(name, **center) for name in ("cx", "cy")),
            ],
            outputs=[
                _CameraEmbedding.Output(display_name="camera_embedding"),
                io.Int.Output(display_name="width"),
                io.Int.Output(display_name="height"),
                io.Int.Output(display_name="length"),
            ],
        )

    @classmethod
    def execute(cls, camera_pose: str, width: int, height: int, length: int, speed: float = 1.0, **lens: float) -> Any:
        check_bounds(width, height, length)
        through = Lens(**lens)
        if not through.fx or not through.fy:
            raise InvalidInputError(f"A lens has a focal length above 0, got fx {through.fx} and fy {through.fy}.")
        poses = move_poses(MOVES[_POSES[camera_pose]], length, speed)
        rays = camera_rays(poses, [through], VideoShape(length, height, width))
        return io.NodeOutput(rays, width, height, length)


class WanCameraImageToVideo(io.ComfyNode):
    """A video with a start image and a camera's path."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.ClipVisionOutput.Input("clip_vision_output", optional=True),
            io.Image.Input("start_image", optional=True, tooltip="The first frame, or the first frames in a batch."),
            _CameraEmbedding.Input("camera_conditions", optional=True),
        ]
        return video_schema("WanCameraImageToVideo", inputs, folder="/camera")

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
        camera_conditions: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        values = joined_clip_vision(clip_vision_output, None)
        if start_image is not None:
            frames, *size = latent["samples"].shape[2:]
            mask = torch.ones(1, 1, 4 * frames, *size)
            mask[:, :, : len(start_image) + 3] = 0.0  # the first frame is four of the mask
            values["concat_latent_image"] = placed(vae, start_image, latent, length)
            values["concat_mask"] = mask.view(1, frames, 4, *size).transpose(1, 2)
            values |= made_by(vae)
        if camera_conditions is not None:
            values["camera_conditions"] = camera_conditions
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)
